import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { once } from "node:events";
import { createServer } from "node:http";
import { test } from "node:test";
import { promisify } from "node:util";
import { tryNamespaces } from "../helpers/namespaces.ts";

const run = promisify(execFile);

/** Prints what the server at a URL says, or what went wrong. */
const ask = (url: string) => `
  fetch(${JSON.stringify(url)}, { signal: AbortSignal.timeout(1000) })
    .then((answer) => answer.text())
    .catch((error) => error.name)
    .then(console.log)`;

test("a host of its own reaches this one, not while its link is cut, and is gone in the end", async (t) => {
  const namespaces = await tryNamespaces();
  if (typeof namespaces === "string") return t.skip(namespaces);
  await using opened = new AsyncDisposableStack();
  opened.use(namespaces);
  const callers: (string | undefined)[] = [];
  const server = createServer(({ socket }, response) => {
    callers.push(socket.remoteAddress);
    response.end("hello");
  });
  await once(server.listen(0, namespaces.address), "listening");
  opened.defer(() => void server.close());
  const address = server.address();
  assert.ok(address !== null && typeof address !== "string");
  const url = `http://${namespaces.address}:${address.port}`;

  const host = opened.use(await namespaces.onHostOfItsOwn(url)());
  const [program = "", ...words] = host.command;
  const say = async () =>
    (await run(program, [...words, process.execPath, "-e", ask(host.resonateUrl)])).stdout.trim();
  assert.equal(await say(), "hello");
  host.fallSilent();
  assert.equal(await say(), "TimeoutError");
  host.recover();
  assert.equal(await say(), "hello");
  assert.equal(callers.length, 2);
  assert.ok(!callers.includes(namespaces.address), "it has an address of its own");

  await opened.disposeAsync();
  const [own] = host.command.slice(-1);
  assert.doesNotMatch((await run("ip", ["netns", "list"])).stdout, new RegExp(`^${own}\\b`, "m"));
});
