import assert from "node:assert/strict";
import { once } from "node:events";
import { request } from "node:http";
import { connect, type Socket } from "node:net";
import { type TestContext, test } from "node:test";
import { listenHttp, type Routes } from "../../src/observe/http.ts";
import { SettingsError } from "../../src/support/settings.ts";
import { until } from "../helpers/unit-time.ts";

const routes: Routes = {
  "/one": () => ({ status: 200, contentType: "text/plain", body: "one" }),
  "/fails": async () => {
    throw new Error("it broke");
  },
};

const listen = async (t: TestContext) => {
  const server = await listenHttp({ host: "127.0.0.1", port: 0 }, routes);
  t.after(() => server[Symbol.asyncDispose]());
  return server.url;
};

const open = async (t: TestContext, url: string): Promise<Socket> => {
  const socket = connect(Number(new URL(url).port), "127.0.0.1");
  t.after(() => socket.destroy());
  socket.on("error", () => {});
  await once(socket, "connect");
  return socket;
};

test("GET of what there is, with or without a query, is answered and the connection closed", async (t) => {
  const url = await listen(t);
  const response = await fetch(`${url}/one?x=/fails`);
  assert.deepEqual([response.status, await response.text()], [200, "one"]);
  assert.equal(response.headers.get("connection"), "close");
});

test("anything else is refused: another path, another method, a body, what is no HTTP", async (t) => {
  const url = await listen(t);
  for (const path of ["/", "/two", "/one/", "/constructor", "/__proto__", "//one", "/%00"]) {
    assert.equal((await fetch(url + path)).status, 404, path);
  }
  for (const method of ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"]) {
    const response = await fetch(`${url}/one`, { method });
    assert.deepEqual([response.status, response.headers.get("allow")], [405, "GET"], method);
  }
  assert.equal((await fetch(`${url}/fails`)).status, 500);
  const big = await fetch(`${url}/one`, { headers: { x: "y".repeat(10_000) } });
  assert.equal(big.status, 431);
  const socket = await open(t, url);
  socket.end("no HTTP\r\n\r\n");
  const [answer] = await once(socket, "data");
  assert.match(String(answer), /^HTTP\/1\.1 400 /);
  assert.equal((await fetch(`${url}/one`)).status, 200, "it still answers");
});

test("a body without end is not read", async (t) => {
  const url = await listen(t);
  const endless = request(`${url}/one`, { method: "POST" });
  endless.on("error", () => {});
  endless.write("x".repeat(1024 * 1024));
  const [response] = await once(endless, "response");
  assert.equal(response.statusCode, 405);
  endless.destroy();
});

test("connections beyond a few are closed at once, and one that says nothing after a while", async (t) => {
  const url = await listen(t);
  const silent = await Promise.all(Array.from({ length: 16 }, () => open(t, url)));
  let closed = 0;
  for (const socket of silent) socket.once("close", () => closed++).resume();
  const extra = await open(t, url);
  extra.resume();
  await once(extra, "close");
  assert.equal(closed, 0);
  await until("the silent ones to be closed", () => closed === silent.length, 15_000, 50);
  assert.equal((await fetch(`${url}/one`)).status, 200);
});

test("a port that is taken, or an address that is not ours, is one line", async (t) => {
  const { port } = new URL(await listen(t));
  const failed = listenHttp({ host: "127.0.0.1", port: Number(port) }, routes);
  await assert.rejects(failed, (error) => {
    assert.ok(error instanceof SettingsError);
    assert.equal(
      error.message,
      `HTTP_PORT: expected a free port at 127.0.0.1, got port ${port}, which is in use`,
    );
    return true;
  });
  await assert.rejects(
    listenHttp({ host: "192.0.2.1", port: 0 }, routes),
    /HTTP_PORT: expected .* 192\.0\.2\.1/,
  );
});
