import assert from "node:assert/strict";
import { test } from "node:test";
import type { Message, Request, Response } from "@resonatehq/sdk";
import { dropKnown, isAnswer, takePoison } from "../../src/resonate/answers.ts";
import { createAwaited } from "../../src/resonate/awaited.ts";

const head = { corrId: "1", version: "1" };
const promiseOf = (state: string, data = "") => ({
  id: "a",
  state,
  tags: {},
  param: { headers: {}, data },
  value: {},
  timeoutAt: 2,
  createdAt: 1,
});
const acquire = { kind: "task.acquire", head, data: { id: "a", version: 1, pid: "p", ttl: 1 } } as const;
const acquired = (task: unknown, data = "") => ({
  kind: "task.acquire",
  head: { ...head, status: 200 },
  data: { task, promise: promiseOf("pending", data), preload: [] },
});
const lease = { id: "a", state: "acquired", version: 1, resumes: [] };

test("a lease that is none is no answer", () => {
  assert.ok(isAnswer(acquired(lease), acquire));
  for (const task of [
    undefined,
    null,
    5,
    { ...lease, state: "pending" },
    { ...lease, id: "b" },
    { ...lease, version: "1" },
  ])
    assert.ok(!isAnswer(acquired(task), acquire), JSON.stringify(task));
  const refused = { kind: "task.acquire", head: { ...head, status: 409 }, data: "taken" };
  assert.ok(isAnswer(refused, acquire));
  assert.ok(!isAnswer({ ...refused, head: { ...refused.head, corrId: "2" } }, acquire));
});

test("a promise that was settled and is pending is no answer", () => {
  const data = { id: "a", state: "resolved", value: {} } as const;
  const settle = { kind: "promise.settle", head, data } as const;
  const fence = { kind: "task.fence", head, data: { id: "a", version: 1, action: settle } } as const;
  for (const [state, holds] of [
    ["resolved", true],
    ["rejected_timedout", true],
    ["pending", false],
  ] as const) {
    const settled = {
      kind: "promise.settle",
      head: { ...head, status: 200 },
      data: { promise: promiseOf(state) },
    };
    assert.equal(isAnswer(settled, settle), holds, state);
    const fenced = {
      kind: "task.fence",
      head: { ...head, status: 200 },
      data: { action: settled, preload: [] },
    };
    assert.equal(isAnswer(fenced, fence), holds, state);
  }
});

test("only an execution whose function's version is no whole number loses what it would run", () => {
  const encode = (call: unknown) => Buffer.from(JSON.stringify(call)).toString("base64");
  for (const [data, kept] of [
    [encode({ func: "f", args: [] }), true],
    [encode({ func: "f", args: [], version: 2 }), true],
    [encode("text"), true],
    ["%%%", true],
    ...[null, "1", -1, 1.5, true, {}].map(
      (version) => [encode({ func: "f", args: [], version }), false] as const,
    ),
  ] as const) {
    const response = acquired(lease, data);
    assert.ok(isAnswer(response, acquire));
    takePoison(acquire, response);
    assert.equal(response.data.promise.param?.data, kept ? data : "", data);
  }
});

test("what is recorded of an execution is dropped from the answer to a checkpoint, and from no other", () => {
  const [recorded, action] = [promiseOf("resolved"), { kind: "promise.create", head, data: "…" }];
  for (const [kind, left] of [
    ["task.fence", []],
    ["task.acquire", [recorded]],
    ["task.suspend", [recorded]],
  ] as const) {
    const data = { action, preload: [recorded] };
    const response = { kind, head: { ...head, status: 200 }, data };
    dropKnown(response as unknown as Response);
    assert.deepEqual(data.preload, left, kind);
  }
});

test("the end of a promise is for those who asked for it, once", () => {
  const awaited = createAwaited();
  const end = { kind: "unblock", head: {}, data: { promise: promiseOf("resolved") } } as Message;
  const ask: Request = { kind: "promise.register_listener", head, data: { awaited: "a", address: "x" } };
  const answer = (state: string) =>
    ({ kind: ask.kind, head: { ...head, status: 200 }, data: { promise: promiseOf(state) } }) as Response;
  assert.ok(!awaited.takes(end));
  awaited.onRequest(ask);
  assert.ok(awaited.takes(end), "also before the answer comes");
  assert.ok(!awaited.takes(end));
  awaited.onRequest(ask);
  awaited.onAnswer(ask, answer("pending"));
  assert.ok(awaited.takes(end));
  awaited.onRequest(ask);
  awaited.onAnswer(ask, answer("resolved"));
  assert.ok(!awaited.takes(end), "the answer has told it");
  assert.ok(awaited.takes({ kind: "execute", head: {}, data: { task: { id: "a", version: 1 } } }));
});
