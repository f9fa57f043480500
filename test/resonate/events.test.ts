import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { type TestContext, test } from "node:test";
import type { Message } from "@resonatehq/sdk";
import { createEvents, type EventsOptions } from "../../src/resonate/events.ts";
import { silent } from "../helpers/unit-resonate.ts";
import { mockTimers, settle, until } from "../helpers/unit-time.ts";

const execute = (id: string): Message => ({ kind: "execute", head: {}, data: { task: { id, version: 1 } } });
const event = (id: string) => `data: ${JSON.stringify(execute(id))}\n\n`;

interface Poll {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
}

/** A server that takes polls and leaves them open, and a source of messages from it. */
const build = async (t: TestContext, options: Partial<EventsOptions> = {}) => {
  const polls: Poll[] = [];
  const statuses: number[] = [];
  const server = createServer((request, response) => {
    polls.push({ request, response });
    response.writeHead(statuses.shift() ?? 200, { "content-type": "text/event-stream" });
    if (response.statusCode === 200) response.flushHeaders();
    else response.end();
  });
  const listen = async (port: number) => {
    await once(server.listen(port, "127.0.0.1"), "listening");
    const address = server.address();
    assert.ok(address !== null && typeof address !== "string");
    return address.port;
  };
  const stop = async () => {
    server.closeAllConnections();
    if (server.listening) await once(server.close(), "close");
  };
  const port = await listen(0);

  const warnings: string[] = [];
  const logger = { ...silent, warn: (_fields: unknown, message: string) => void warnings.push(message) };
  const url = `http://127.0.0.1:${port}`;
  const source = createEvents({ url, token: "", group: "workers", pid: "1-a", logger, ...options });
  const ids: string[] = [];
  source.onReceive((message) => {
    ids.push(message.kind === "execute" ? message.data.task.id : message.kind);
  });
  await source.init();
  t.after(async () => {
    await source.stop();
    await stop();
  });
  await until("it polls", () => polls.length === 1);
  const write = (chunk: string | Uint8Array) => polls.at(-1)?.response.write(chunk);
  return { source, polls, statuses, ids, warnings, write, stop, listen: () => listen(port) };
};

test("it asks for the events of its group and worker, with its token if it has one", async (t) => {
  const { polls, source } = await build(t, { token: "s3cret" });
  const { method, url, headers } = polls[0]?.request ?? {};
  assert.deepEqual([method, url], ["GET", "/poll/workers/1-a"]);
  assert.deepEqual([headers?.accept, headers?.authorization], ["text/event-stream", "Bearer s3cret"]);
  assert.deepEqual([source.unicast, source.anycast], ["poll://uni@workers/1-a", "poll://any@workers"]);
  assert.equal(source.match("others"), "poll://any@others");

  const { polls: others } = await build(t);
  assert.equal(others[0]?.request.headers.authorization, undefined);
});

test("messages arrive in order, however the stream is cut", async (t) => {
  const { ids, write } = await build(t);
  write(event("one") + event("two"));
  await until("both have arrived", () => ids.length === 2);
  for (const byte of Buffer.from(event("drei 🙂 é"))) {
    write(Uint8Array.of(byte));
    await settle();
  }
  write(event("four").replaceAll("\n", "\r\n"));
  await until("all have arrived", () => ids.length === 4);
  assert.deepEqual(ids, ["one", "two", "drei 🙂 é", "four"]);
});

test("what is no message is passed over", async (t) => {
  const { ids, polls, write } = await build(t);
  write(": keep alive\n\nevent: message\nid: 7\nretry: 10\ndata: {}\n\ndata: null\n\ndata: 7\n\n\n\n");
  write(event("one"));
  await until("the message has arrived", () => ids.length === 1);
  assert.deepEqual([ids, polls.length], [["one"], 1]);
});

test("a connection that is lost is made again, and messages arrive again", async (t) => {
  const { ids, polls, warnings, write } = await build(t);
  write(event("one"));
  await until("the message has arrived", () => ids.length === 1);
  polls[0]?.response.destroy();
  await until("it polls again", () => polls.length === 2);
  polls[1]?.response.end();
  await until("it polls again after an orderly end, too", () => polls.length === 3);
  write(event("two"));
  await until("the message has arrived", () => ids.length === 2);
  assert.equal(warnings.length, 2);
});

test("a server that answers with an error is asked again", async (t) => {
  const { ids, polls, statuses, write } = await build(t);
  statuses.push(500, 404);
  polls[0]?.response.destroy();
  await until("it polls again", () => polls.length === 4);
  write(event("one"));
  await until("the message has arrived", () => ids.length === 1);
});

test("an event that cannot be read is left out and told, and the next ones arrive", async (t) => {
  const { ids, polls, warnings, write } = await build(t);
  write("data: {broken\n\n");
  write(event("one"));
  await until("the message has arrived", () => ids.length === 1);
  assert.deepEqual([polls.length, warnings], [1, ["an event was left out, since it cannot be read"]]);
});

test("the end of a promise that has not ended is left out: the SDK ends the process at it", async (t) => {
  const { ids, write } = await build(t);
  const unblock = (state: string) => {
    const promise = {
      id: "x",
      state,
      param: {},
      value: {},
      tags: {},
      timeoutAt: 1,
      createdAt: 0,
      settledAt: 1,
    };
    return `data: ${JSON.stringify({ kind: "unblock", head: {}, data: { promise } })}\n\n`;
  };
  write(unblock("pending") + unblock("resolved") + event("one"));
  await until("the message has arrived", () => ids.includes("one"));
  assert.deepEqual(ids, ["unblock", "one"]);
});

test("a stream that has fallen silent is replaced by another before it is left", async (t) => {
  const { source, polls, ids, warnings, write } = await build(t);
  let reconnects = 0;
  source.onReconnected = () => {
    reconnects += 1;
  };
  write(event("zero"));
  await until("the first stream is read", () => ids.length === 1);
  const closed = once(polls[0]?.response ?? assert.fail(), "close");
  source.reconnect();
  source.reconnect();
  await until("it polls again", () => polls.length === 2);
  polls[0]?.response.write(event("under way to the first"));
  write(event("one"));
  await until("both have arrived", () => ids.length === 3);
  await closed;
  write(event("two"));
  await until("the message has arrived", () => ids.includes("two"));
  assert.deepEqual([polls.length, reconnects, warnings], [2, 1, []]);
});

test("it tells of each stream after the first", async (t) => {
  const { source, polls } = await build(t);
  let reconnects = 0;
  source.onReconnected = () => {
    reconnects += 1;
  };
  for (const index of [0, 1]) {
    polls[index]?.response.destroy();
    await until("it polls again", () => reconnects === index + 1);
  }
});

test("during an outage it tries ever more rarely, but every two seconds at least", async (t) => {
  const { ids, polls, warnings, write, stop, listen } = await build(t);
  const timers = mockTimers(t);
  await stop();
  const delays = [200, 400, 800, 1600, 2000, 2000, 2000];
  for (const [index, delay] of delays.entries()) {
    await until(`try ${index + 1} has failed`, () => warnings.length === index + 1);
    await timers.advance(delay - 1);
    if (index === delays.length - 1) await listen();
    await timers.advance(1);
  }
  await until("it polls again", () => polls.length === 2);
  write(event("one"));
  await until("the message has arrived", () => ids.length === 1);
  assert.equal(warnings.length, delays.length);
});

test("once stopped it closes its connection and makes none again", async (t) => {
  const { source, polls, warnings, write } = await build(t);
  const closed = once(polls[0]?.response ?? assert.fail(), "close");
  await source.stop();
  await closed;
  write(event("late"));
  await settle();
  assert.deepEqual([polls.length, warnings], [1, []]);
});

test("a stop while it waits to connect again ends that, too", async (t) => {
  const { source, polls, warnings } = await build(t);
  const other = await build(t);
  for (const { response } of [...polls, ...other.polls]) response.destroy();
  await until("the loss is noticed", () => warnings.length === 1 && other.warnings.length === 1);
  await source.stop();
  await until("another is back", () => other.polls.length === 2);
  await settle();
  assert.equal(polls.length, 1);
});
