import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { createMetrics } from "../../src/observe/metrics.ts";
import { tell, type WorkerState } from "../../src/worker/telemetry.ts";
import { Samples } from "../helpers/metrics.ts";

const STATE: WorkerState = {
  inFlight: 7,
  maxInFlight: 1000,
  oldestSince: undefined,
  stepsRunning: 3,
  stepsWaiting: 2,
  maxSteps: 16,
  leases: 5,
  clockSkewMs: 1500,
};

const start = (t: TestContext, state: () => WorkerState | undefined = () => STATE) => {
  const metrics = createMetrics({ state, isReady: () => true, version: "1.2.3", group: "g" });
  t.after(() => metrics[Symbol.dispose]());
  return async () => new Samples(await metrics.render());
};

const place = { topic: "t", partition: 1, offset: "41" };
const execution = { id: "r-1", executionId: "r-1" };
const step = { ...execution, step: "charge", key: "orders/r-1/charge/0", attempt: 1 };

test("messages are counted by where they came from and what became of them, and timed", async (t) => {
  const read = start(t);
  tell("messages.received", { topic: "t", partition: 1, count: 3, lag: 9, end: 44 });
  tell("messages.received", { topic: "t", partition: 1, count: 2, lag: 7, end: 46 });
  tell("message.dispatched", { ...place, id: "r-1", outcome: "started", ms: 20, ageMs: 2000 });
  tell("message.dispatched", { ...place, id: "r-2", outcome: "running", ms: 30, ageMs: 9e9 });
  tell("message.dispatched", { ...place, id: "r-3", outcome: "started", ms: 30, ageMs: Number.NaN });
  tell("message.dispatched", { ...place, id: "r-4", outcome: "started", ms: 20, ageMs: -5 });
  tell("message.dead-letter", { ...place, reason: "poison", error: "x" });
  const samples = await read();
  assert.equal(samples.get('messages_received_total{topic="t",partition="1"}'), 5);
  assert.deepEqual(samples.of("messages_dispatched_total"), {
    'outcome="started"': 3,
    'outcome="running"': 1,
  });
  assert.equal(samples.get("dispatch_duration_seconds_sum"), 0.1);
  assert.equal(samples.get("message_age_seconds_count"), 2, "of new ones, with a timestamp");
  assert.equal(samples.get("message_age_seconds_sum"), 2, "one of the future has age 0");
  assert.deepEqual(samples.of("dead_letters_total"), { 'reason="poison"': 1 });
});

test("however many reasons there are, they make few time series", async (t) => {
  const read = start(t);
  for (let i = 0; i < 200; i++) tell("message.dead-letter", { ...place, reason: `id ${i}`, error: "x" });
  const reasons = (await read()).of("dead_letters_total");
  assert.equal(Object.keys(reasons).length, 51);
  assert.equal(reasons['reason="other"'], 150);
});

test("the lag of a partition is there while this worker has it", async (t) => {
  const read = start(t);
  const lag = (partition: number) => ({ topic: "t", partition, committed: 40, lag: 5 + partition });
  tell("group.joined", { topic: "t", partitions: [1, 2] });
  tell("lag.measured", lag(1));
  tell("lag.measured", lag(2));
  const both = await read();
  assert.deepEqual(both.of("consumer_lag"), { 'topic="t",partition="1"': 6, 'topic="t",partition="2"': 7 });
  assert.equal(both.get("assigned_partitions"), 2);
  tell("group.left", { topic: "t" });
  const none = await read();
  assert.deepEqual([none.of("consumer_lag"), none.get("assigned_partitions")], [{}, 0]);
  tell("group.joined", { topic: "t", partitions: [2] });
  tell("lag.measured", lag(2));
  const one = await read();
  assert.deepEqual(one.of("consumer_lag"), { 'topic="t",partition="2"': 7 });
  assert.equal(one.get("rebalances_total"), 2);
  tell("commit.failed", { topic: "t", partition: 2, error: "x" });
  assert.equal((await read()).get("commit_failures_total"), 1);
});

test("executions count once, not once more for each of their pieces", async (t) => {
  const read = start(t);
  tell("execution.ended", { id: "r-1", executionId: "r-1:d1", isWhole: false, outcome: "finished", ms: 10 });
  tell("execution.ended", { ...execution, isWhole: true, outcome: "finished", ms: 4000 });
  tell("execution.ended", { id: "r-2", executionId: "r-2", isWhole: true, outcome: "failed", ms: 1000 });
  tell("execution.taken-over", { ...execution, from: "w", step: "charge", key: "k" });
  tell("lease.lost", execution);
  const samples = await read();
  assert.deepEqual(samples.of("executions_finished_total"), {
    'outcome="finished"': 1,
    'outcome="failed"': 1,
  });
  assert.equal(samples.get('execution_duration_seconds_sum{outcome="finished"}'), 4);
  assert.equal(samples.get("executions_taken_over_total"), 1);
  assert.equal(samples.get("leases_lost_total"), 1);
});

test("a try of a step counts once: as done, answered, retried or failed", async (t) => {
  const read = start(t);
  tell("step.retried", { ...step, error: "x", delayMs: 100, ms: 500 });
  tell("step.answered", { ...step, attempt: 2 });
  tell("step.ended", { ...step, attempt: 2, result: "done", ms: 250 });
  tell("step.ended", { ...step, key: "orders/r-2/charge/0", result: "done", ms: 125 });
  tell("step.answered", { ...step, key: "orders/r-3/charge/0" });
  tell("step.ended", { ...step, key: "orders/r-3/charge/0", result: "failed", error: "x", ms: 125 });
  tell("step.ended", { ...step, key: "orders/r-3/charge/0", result: "done", ms: 125 });
  const samples = await read();
  assert.deepEqual(samples.of("steps_total"), {
    'step="charge",result="retried"': 1,
    'step="charge",result="answered"': 1,
    'step="charge",result="done"': 2,
    'step="charge",result="failed"': 1,
  });
  assert.equal(samples.get('step_duration_seconds_sum{step="charge",result="answered"}'), 0.25);
  assert.equal(samples.get('step_duration_seconds_sum{step="charge",result="retried"}'), 0.5);
});

test("requests are timed by kind and status, and one without an answer means: not connected", async (t) => {
  const read = start(t);
  tell("request.ended", { kind: "task.create", status: 200, ms: 20 });
  assert.equal((await read()).get("resonate_connected"), 1);
  tell("request.ended", { kind: "task.fence", status: 0, ms: 10_000 });
  const samples = await read();
  assert.equal(samples.get("resonate_connected"), 0);
  assert.deepEqual(samples.of("resonate_request_duration_seconds_sum"), {
    'kind="task.create",status="200"': 0.02,
    'kind="task.fence",status="0"': 10,
  });
});

test("what is read at the moment is asked of the worker, and absent before it has started", async (t) => {
  let state: WorkerState | undefined;
  const read = start(t, () => state);
  const gauges = [
    "executions_in_flight",
    "executions_limit",
    "oldest_execution_age_seconds",
    "steps_running",
    "steps_limit",
    "leases_held",
    "clock_skew_seconds",
  ];
  const before = await read();
  assert.deepEqual(
    gauges.map((name) => before.get(name)),
    gauges.map(() => undefined),
  );
  assert.equal(before.get("ready"), 1);
  assert.deepEqual(before.of("info"), { 'version="1.2.3",group="g"': 1 });
  state = STATE;
  const during = await read();
  assert.deepEqual(
    gauges.map((name) => during.get(name)),
    [7, 1000, 0, 3, 16, 5, 1.5],
  );
  state = { ...STATE, oldestSince: Date.now() - 60_000, clockSkewMs: undefined };
  const later = await read();
  const age = later.get("oldest_execution_age_seconds") ?? 0;
  assert.ok(age >= 60 && age < 65, `${age}`);
  assert.equal(later.get("clock_skew_seconds"), undefined, "no longer known");
});

test("nothing is counted after the end", async (t) => {
  const read = start(t);
  const other = createMetrics({ state: () => undefined, isReady: () => false, version: "", group: "" });
  other[Symbol.dispose]();
  tell("lease.lost", execution);
  assert.equal(await other.render(), "\n");
  assert.equal((await read()).get("leases_lost_total"), 1);
});
