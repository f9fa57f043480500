import assert from "node:assert/strict";
import { test } from "node:test";
import { setImmediate } from "node:timers/promises";
import type { Request, Response, Send } from "@resonatehq/sdk";
import { makeWay } from "../../src/resonate/make-way.ts";
import { requestHead } from "../../src/resonate/request.ts";

const create = (id: string): Extract<Request, { kind: "task.create" }> => {
  const data = { id, timeoutAt: 1000, param: { headers: {}, data: "" }, tags: {} };
  const action = { kind: "promise.create" as const, head: requestHead(), data };
  return { kind: "task.create", head: requestHead(), data: { pid: "worker", ttl: 1000, action } };
};
const heartbeat = (): Extract<Request, { kind: "task.heartbeat" }> => ({
  kind: "task.heartbeat",
  head: requestHead(),
  data: { pid: "worker", tasks: [] },
});

/** A server whose answers to starts are in the hands of the test. */
const build = () => {
  const answers: PromiseWithResolvers<Response>[] = [];
  const begun: string[] = [];
  const head = { ...requestHead(), status: 409 as const };
  const held: Response = { kind: "task.create", head, data: "held" };
  const alive: Response = { kind: "task.heartbeat", head: { ...head, status: 200 }, data: {} };
  const send = makeWay((async (request: Request) => {
    if (request.kind !== "task.create") return alive;
    const own = Promise.withResolvers<Response>();
    answers.push(own);
    return own.promise;
  }) as Send);
  return {
    send,
    begun,
    start: (id: string) => send(create(id)).then(() => begun.push(id)),
    answer: (n: number) => answers[n]?.resolve(held),
    fail: (n: number) => answers[n]?.reject(new Error("gone")),
  };
};

const pass = async (turns: number) => {
  for (let turn = 0; turn < turns; turn++) await setImmediate();
};

test("what is started begins to run in order, and makes a turn of way for each start that waits", async () => {
  const { start, answer, begun } = build();
  const ids = ["a", "b", "c", "d"];
  const started = ids.map(start);
  answer(0);
  answer(1);
  // Two wait: three turns each.
  await pass(2);
  assert.deepEqual(begun, []);
  await pass(3);
  assert.deepEqual(begun, ["a"]);
  answer(2);
  answer(3);
  await Promise.all(started);
  assert.deepEqual(begun, ids);
});

test("a start that fails holds up no other, and what is no start is answered at once", async () => {
  const { start, send, answer, fail, begun } = build();
  const [failed, started] = [start("a"), start("b")];
  fail(0);
  await assert.rejects(failed, /gone/);
  answer(1);
  let isAnswered = false;
  void send(heartbeat()).then(() => {
    isAnswered = true;
  });
  await pass(1);
  assert.ok(isAnswered);
  await started;
  assert.deepEqual(begun, ["b"]);
});
