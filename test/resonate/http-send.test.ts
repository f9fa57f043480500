import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { text } from "node:stream/consumers";
import { type TestContext, test } from "node:test";
import { setImmediate } from "node:timers/promises";
import { isRequest, type Request, ResonateTimeoutException } from "@resonatehq/sdk";
import { createHttpSend, type HttpSendOptions } from "../../src/resonate/http-send.ts";
import { accessTo, silent } from "../helpers/unit-resonate.ts";

type Release = Extract<Request, { kind: "task.release" }>;

const releaseOf = (corrId: string): Release => ({
  kind: "task.release",
  head: { corrId, version: "1" },
  data: { id: "record", version: 1 },
});

const heartbeat: Extract<Request, { kind: "task.heartbeat" }> = {
  kind: "task.heartbeat",
  head: { corrId: "beat", version: "1" },
  data: { pid: "worker", tasks: [] },
};

/** What a server says to `request` when all is well. */
const answerTo = ({ kind, head: { corrId, version } }: Request, status = 200) =>
  JSON.stringify({ kind, head: { corrId, status, version }, data: status === 200 ? {} : "refused" });

type Reply = (request: Request, response: ServerResponse, incoming: IncomingMessage) => void;

/** A server that replies as it is told, and a sender of requests to it. */
const build = async (
  t: TestContext,
  reply: Reply,
  { token = "", ...options }: Partial<HttpSendOptions> & { token?: string } = {},
) => {
  let connections = 0;
  const received: Request[] = [];
  const server = createServer(async (incoming, response) => {
    const request: unknown = JSON.parse(await text(incoming));
    assert.ok(isRequest(request));
    received.push(request);
    reply(request, response, incoming);
  });
  server.on("connection", () => (connections += 1));
  await once(server.listen(0, "127.0.0.1"), "listening");
  const address = server.address();
  assert.ok(address !== null && typeof address !== "string");
  const warnings: unknown[] = [];
  const logger = { ...silent, warn: ({ error }: Record<string, unknown>) => void warnings.push(error) };
  const url = `http://127.0.0.1:${address.port}`;
  const http = createHttpSend({ access: accessTo(url, token), logger, ...options });
  const close = async () => {
    server.closeAllConnections();
    if (server.listening) await once(server.close(), "close");
  };
  t.after(async () => {
    http[Symbol.dispose]();
    await close();
  });
  return { ...http, warnings, received, close, connections: () => connections, server };
};

test("requests in turn share a few connections, which end with the sender", async (t) => {
  const { send, connections, server, ...http } = await build(t, (request, response) =>
    response.end(answerTo(request)),
  );
  for (const corrId of ["1", "2", "3", "4", "5"]) {
    const answer = await send(releaseOf(corrId));
    assert.deepEqual([answer.kind, answer.head.corrId, answer.head.status], ["task.release", corrId, 200]);
  }
  // One that is answered is free a moment later.
  assert.ok(connections() <= 4, `expected four at most, got ${connections()}`);
  http[Symbol.dispose]();
  const closed = once(server, "close");
  server.close();
  await closed;
});

test("idle connections that were all closed unseen lose no request: the second try has a new one", async (t) => {
  const used = new WeakSet<object>();
  const waiting: (() => void)[] = [];
  let resets = 0;
  const ids = ["a", "b", "c", "d"];
  const { send, warnings } = await build(t, (request, response, { socket }) => {
    if (used.has(socket)) {
      resets += 1;
      socket.resetAndDestroy();
      return;
    }
    used.add(socket);
    // The first ones all at once, so that each has a connection.
    waiting.push(() => response.end(answerTo(request)));
    if (waiting.length >= ids.length) for (const answer of waiting) answer();
  });
  await Promise.all(ids.map((corrId) => send(releaseOf(corrId))));
  // They are idle a turn later.
  await setImmediate();
  const { head } = await send(releaseOf("e"));
  assert.deepEqual([head.status, resets, warnings], [200, 1, []]);
});

test("the token goes along in header and head, and is absent where there is none", async (t) => {
  const seen: unknown[] = [];
  const reply: Reply = (request, response, { headers }) => {
    seen.push([headers.authorization, request.head.auth]);
    response.end(answerTo(request));
  };
  const withToken = await build(t, reply, { token: "s3cret" });
  const without = await build(t, reply);
  await withToken.send(releaseOf("1"));
  await without.send(releaseOf("2"));
  assert.deepEqual(seen, [
    ["Bearer s3cret", "s3cret"],
    [undefined, undefined],
  ]);
});

test("a refusal of the protocol is an answer", async (t) => {
  const { send, warnings } = await build(t, (request, response) =>
    response.writeHead(409).end(answerTo(request, 409)),
  );
  assert.equal((await send(releaseOf("1"))).head.status, 409);
  assert.deepEqual(warnings, []);
});

const failures: Record<string, { reply: Reply; expected: RegExp }> = {
  "a status that is not the protocol's": {
    reply: (request, response) => response.writeHead(503).end(answerTo(request)),
    expected: /HTTP 503/,
  },
  "an answer that is no JSON": {
    reply: (_request, response) => response.writeHead(404).end("<html>"),
    expected: /JSON/,
  },
  "the answer to another request": {
    reply: (request, response) =>
      response.end(answerTo({ ...request, head: { ...request.head, corrId: "other" } })),
    expected: /does not match/,
  },
  "an answer of another kind": {
    reply: ({ head }, response) => response.end(answerTo({ kind: "debug.reset", head, data: {} })),
    expected: /does not match/,
  },
  "an answer that breaks off": {
    reply: (request, response) => {
      response.writeHead(200, { "content-length": 1000 });
      response.write(answerTo(request), () => response.destroy());
    },
    expected: /aborted|terminated|closed/,
  },
  "silence before the answer": { reply: () => {}, expected: /no answer within 1000 ms/ },
  "silence amid the answer": {
    reply: (_request, response) => response.writeHead(200).write("{"),
    expected: /no answer within 1000 ms|aborted/,
  },
};

for (const [what, { reply, expected }] of Object.entries(failures)) {
  test(`${what} is a failure that the SDK tries again, and is told in the log`, async (t) => {
    const { send, warnings, received } = await build(t, reply, { timeoutMs: 1000 });
    await assert.rejects(send(releaseOf("1")), (error) => {
      assert.ok(error instanceof ResonateTimeoutException);
      assert.match(error.message, expected);
      return true;
    });
    assert.equal(received.length, 1, "the request had arrived");
    assert.equal(warnings.length, 1);
    assert.match(String(warnings[0]), expected);
  });
}

test("a server that is gone is such a failure too, and one that is back is found", async (t) => {
  const { send, close, server, received } = await build(t, (request, response) =>
    response.end(answerTo(request)),
  );
  await send(releaseOf("1"));
  const address = server.address();
  assert.ok(address !== null && typeof address !== "string");
  await close();
  await assert.rejects(send(releaseOf("2")), ResonateTimeoutException);
  await once(server.listen(address.port, "127.0.0.1"), "listening");
  assert.equal((await send(releaseOf("3"))).head.status, 200);
  assert.deepEqual(
    received.map(({ head }) => head.corrId),
    ["1", "3"],
  );
});

/** Answers over the first connections alone: others are as those that a server has not accepted yet. */
const answerOverFirst = (count: number, isHeld: (request: Request) => boolean = () => false): Reply => {
  const sockets = new Set<object>();
  return (request, response, { socket }) => {
    sockets.add(socket);
    if ([...sockets].indexOf(socket) < count && !isHeld(request)) response.end(answerTo(request));
  };
};

test("a lease is renewed in a burst, whose connections wait to be accepted: the first ones are the heartbeats'", async (t) => {
  const { send, connections } = await build(t, answerOverFirst(2), { timeoutMs: 2000 });
  const burst = Array.from({ length: 50 }, (_, i) => send(releaseOf(String(i))));
  const outcomes = Promise.allSettled(burst);
  await Promise.all(burst.slice(0, 2));
  assert.equal((await send(heartbeat)).head.status, 200);
  await outcomes;
  assert.equal(connections(), 50, "each had one of its own");
});

test("a lease is renewed over a free connection while those of the heartbeats are busy", async (t) => {
  const isHeld = ({ head }: Request) => head.corrId === "held";
  const { send, connections, received } = await build(t, answerOverFirst(3, isHeld), { timeoutMs: 2000 });
  await Promise.all(["1", "2", "3"].map((corrId) => send(releaseOf(corrId))));
  // They are free a turn later.
  await setImmediate();
  const held = [1, 2].map(() => send({ ...heartbeat, head: { ...heartbeat.head, corrId: "held" } }));
  const outcomes = Promise.allSettled(held);
  assert.equal((await send(heartbeat)).head.status, 200);
  assert.equal(connections(), 4, "one for each of the first, and one for the heartbeat");
  assert.equal(received.filter(({ head }) => head.corrId === "held").length, 2);
  await outcomes;
});

test("a lease is renewed while every connection waits for an answer, and more requests for a connection", async (t) => {
  const held: (() => void)[] = [];
  const { send, received } = await build(t, (request, response) => {
    const answer = () => response.end(answerTo(request));
    if (request.kind === "task.heartbeat") answer();
    else held.push(answer);
  });
  const ids = Array.from({ length: 200 }, (_, i) => String(i));
  const sent = ids.map((corrId) => send(releaseOf(corrId)));
  assert.equal((await send(heartbeat)).head.status, 200);
  assert.ok(received.length < ids.length, "some wait for a connection");
  while (received.length < 1 + ids.length) {
    for (const answer of held.splice(0)) answer();
    await setImmediate();
  }
  for (const answer of held) answer();
  const answers = await Promise.all(sent);
  assert.ok(answers.every(({ head: { status } }) => status === 200));
});
