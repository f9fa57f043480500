import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import type { Message, Request, Response } from "@resonatehq/sdk";
import { createPauses } from "../../src/resonate/pauses.ts";
import { requestHead } from "../../src/resonate/request.ts";
import { silentLog } from "../../src/support/log.ts";
import { mockTimers } from "../helpers/unit-time.ts";

const offer = (id: string, version = 1): Message => ({
  kind: "execute",
  head: { serverUrl: "" },
  data: { task: { id, version } },
});

/** A request that hands an execution back, and its answer. */
const release = (id: string): [Request, Response] => {
  const head = requestHead();
  return [
    { kind: "task.release", head, data: { id, version: 1 } },
    { kind: "task.release", head: { ...head, status: 200 }, data: {} },
  ];
};

/** Pauses by a clock that is moved, with what they delivered and passed on. */
const start = (t: TestContext, passing = Promise.resolve()) => {
  const timers = mockTimers(t);
  let time = 0;
  const delivered: string[] = [];
  const passed: string[] = [];
  const passOn = async ({ id }: { readonly id: string }) => {
    passed.push(id);
    await passing;
  };
  const pauses = createPauses({ log: silentLog, passOn, now: () => time });
  return {
    pauses,
    delivered,
    passed,
    deliver: (id: string) => pauses.deliver(offer(id), () => delivered.push(id)),
    advance: (ms: number) => {
      time += ms;
      return timers.advance(ms);
    },
  };
};

test("what was handed back is tried again after a pause that doubles, however often it is sent", async (t) => {
  const { pauses, delivered, passed, deliver, advance } = start(t);
  for (const ms of [1000, 2000, 4000]) {
    const [request, answer] = release("a");
    pauses.onRequest(request);
    // The server offers it again before it answers.
    deliver("a");
    pauses.onAnswer(request, answer);
    for (let times = 0; times < 3; times++) deliver("a");
    await advance(ms - 1);
    assert.deepEqual(delivered, []);
    await advance(1);
    assert.deepEqual(delivered.splice(0), ["a"]);
  }
  assert.deepEqual(passed, []);
});

test("what was left to others is passed on for as long as its pause lasts, and then delivered", async (t) => {
  const { pauses, delivered, passed, deliver, advance } = start(t);
  pauses.leave("a");
  const [request, answer] = release("a");
  pauses.onRequest(request);
  pauses.onAnswer(request, answer);
  for (let second = 1; second < 30; second++) {
    deliver("a");
    deliver("a");
    await advance(1000);
    assert.equal(passed.length, second);
  }
  deliver("a");
  deliver("b");
  assert.deepEqual(delivered, ["b"]);
  await advance(1000);
  assert.deepEqual([delivered, passed.length], [["b", "a"], 29]);
});

test("executions are passed on one after the other, and none once it has stopped", async (t) => {
  const { promise, resolve } = Promise.withResolvers<void>();
  const { pauses, passed, deliver, advance } = start(t, promise);
  for (const id of ["a", "b", "c"]) {
    pauses.leave(id);
    deliver(id);
  }
  await advance(1000);
  assert.deepEqual(passed, ["a"]);
  pauses.stop();
  resolve();
  await advance(0);
  assert.deepEqual(passed, ["a"]);
});
