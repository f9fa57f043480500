import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { watchHealth } from "../../src/observe/health.ts";
import { tell, type WorkerState } from "../../src/worker/telemetry.ts";

const STALL_MS = 300_000;
const place = { topic: "t", partition: 1 };

/** A worker with one partition, whose broker and server answer, on a clock of the test. */
const start = (t: TestContext) => {
  let time = 0;
  const state: { -readonly [K in keyof WorkerState]: WorkerState[K] } = {
    inFlight: 1,
    maxInFlight: 10,
    oldestSince: undefined,
    stepsRunning: 0,
    stepsWaiting: 0,
    maxSteps: 16,
    leases: 0,
    clockSkewMs: undefined,
  };
  const health = watchHealth({ state: () => state, now: () => time });
  t.after(() => health[Symbol.dispose]());
  const answer = (status: number) => tell("request.ended", { kind: "promise.get", status, ms: 1 });
  /** Lets time pass, in which the broker is asked every 3 s. */
  const pass = (ms: number, measured: { committed: number; lag: number } | undefined) => {
    for (const end = time + ms; time < end; ) {
      time += 3000;
      if (measured) tell("lag.measured", { ...place, ...measured });
    }
  };
  tell("group.joined", { topic: "t", partitions: [1] });
  answer(200);
  return { health, state, answer, pass };
};

const receive = (end: number) => tell("messages.received", { ...place, count: 5, lag: 0, end });

test("a partition with messages whose dispatch makes no progress is not healthy after five minutes", (t) => {
  const { health, pass } = start(t);
  receive(5);
  pass(STALL_MS - 10_000, { committed: 2, lag: 3 });
  assert.deepEqual(health.live(), { ok: true, reasons: [] });
  pass(30_000, { committed: 2, lag: 3 });
  const { ok, reasons } = health.live();
  assert.equal(ok, false);
  assert.match(reasons.join(), /^partition 1 has messages, and none was dispatched for 3\d\d s$/);
  pass(3000, { committed: 3, lag: 2 });
  assert.equal(health.live().ok, true, "it goes on");
});

test("a consumer that is given nothing while the lag grows is not healthy", (t) => {
  const { health, pass } = start(t);
  pass(60_000, { committed: 5, lag: 0 });
  pass(STALL_MS + 30_000, { committed: 5, lag: 40 });
  assert.equal(health.live().ok, false);
});

test("a lag that only control records make is no sign of messages", (t) => {
  const { health, pass } = start(t);
  receive(5);
  pass(60_000, { committed: 5, lag: 1 });
  pass(2 * STALL_MS, { committed: 5, lag: 1 });
  assert.equal(health.live().ok, true);
});

test("what stands still at the limit of executions in flight is healthy", (t) => {
  const { health, pass, state } = start(t);
  receive(5);
  state.inFlight = 10;
  pass(2 * STALL_MS, { committed: 2, lag: 3 });
  assert.equal(health.live().ok, true);
});

test("no outage is a reason to restart, nor the moment in which it ends", (t) => {
  const { health, pass, answer } = start(t);
  receive(5);
  answer(0);
  pass(2 * STALL_MS, { committed: 2, lag: 3 });
  assert.equal(health.live().ok, true, "the server is away");
  answer(200);
  assert.equal(health.live().ok, true, "the server is back");
  pass(2 * STALL_MS, undefined);
  assert.equal(health.live().ok, true, "the broker is away");
  pass(3000, { committed: 2, lag: 3 });
  assert.equal(health.live().ok, true, "the broker is back");
  pass(STALL_MS + 10_000, { committed: 2, lag: 3 });
  assert.equal(health.live().ok, false, "both are there, and it stands");
});

test("a rebalance begins anew", (t) => {
  const { health, pass } = start(t);
  receive(5);
  pass(STALL_MS + 10_000, { committed: 2, lag: 3 });
  tell("group.left", { topic: "t" });
  assert.equal(health.live().ok, true);
  tell("group.joined", { topic: "t", partitions: [] });
  pass(STALL_MS, { committed: 2, lag: 3 });
  assert.equal(health.live().ok, true, "another's partition");
});

test("a worker that cannot go on is neither healthy nor ready", (t) => {
  const { health } = start(t);
  health.died("the consumer crashed");
  for (const verdict of [health.live(), health.ready()])
    assert.deepEqual(verdict, { ok: false, reasons: ["the worker cannot go on: the consumer crashed"] });
});

test("ready: in the group, with partitions or without, and the server reached; not once it stops", (t) => {
  const { health, answer } = start(t);
  const reasons = () => health.ready().reasons;
  assert.deepEqual(health.ready(), { ok: true, reasons: [] });
  tell("group.left", { topic: "t" });
  assert.deepEqual(reasons(), ["the worker has not joined its consumer group"]);
  tell("group.joined", { topic: "t", partitions: [] });
  assert.deepEqual(reasons(), []);
  answer(0);
  assert.deepEqual(reasons(), ["the Resonate server does not answer"]);
  answer(409);
  assert.deepEqual(reasons(), []);
  tell("worker.stopping", { worker: "w", running: 0 });
  assert.deepEqual(reasons(), ["the worker stops"]);
  assert.equal(health.live().ok, true, "a stop is healthy");
});

test("a worker that takes no messages is ready without a group", (t) => {
  const health = watchHealth({ state: () => undefined, takesMessages: false });
  t.after(() => health[Symbol.dispose]());
  assert.deepEqual(health.ready().reasons, ["the Resonate server does not answer"]);
  tell("request.ended", { kind: "promise.get", status: 404, ms: 1 });
  assert.equal(health.ready().ok, true);
});

test("before anything has happened a worker is healthy and not ready", (t) => {
  const health = watchHealth({ state: () => undefined });
  t.after(() => health[Symbol.dispose]());
  assert.equal(health.live().ok, true);
  assert.deepEqual(health.ready().reasons, [
    "the worker has not joined its consumer group",
    "the Resonate server does not answer",
  ]);
});
