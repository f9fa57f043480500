import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { startProgressLog } from "../../src/worker/progress-log.ts";
import { tell, type WorkerState } from "../../src/worker/telemetry.ts";
import { createMemoryLog } from "../helpers/unit-log.ts";

const IDLE: WorkerState = {
  inFlight: 0,
  maxInFlight: 1000,
  oldestSince: undefined,
  stepsRunning: 0,
  stepsWaiting: 0,
  maxSteps: 16,
  leases: 0,
  clockSkewMs: undefined,
};

const start = (t: TestContext) => {
  t.mock.timers.enable({ apis: ["setInterval"] });
  const log = createMemoryLog();
  const own = { state: IDLE };
  const progress = startProgressLog({ log, state: () => own.state });
  let isOver = false;
  const end = () => {
    if (!isOver) progress[Symbol.dispose]();
    isOver = true;
  };
  t.after(end);
  return { log, own, end, pass: () => t.mock.timers.tick(30_000) };
};

const of = (id: string, executionId = id) => ({ id, executionId });
const ended = (outcome: "finished" | "failed", isWhole = true) =>
  tell("execution.ended", { ...of("r"), isWhole, outcome, ms: 1 });

test("a takeover says of what, from whom and where", (t) => {
  const { log } = start(t);
  const key = "deletion/r-1/deleteBatch/3";
  tell("execution.taken-over", { ...of("r-1"), from: "17-ab", step: "deleteBatch", key });
  assert.deepEqual(log.lines, [`info took over record r-1 from worker 17-ab at step ${key}`]);
  assert.deepEqual(log.fields, [{ recordId: "r-1", from: "17-ab", step: "deleteBatch", key }]);
});

test("a published completion says where it is", (t) => {
  const { log } = start(t);
  tell("completion.published", { ...of("r-1"), topic: "done", key: "k" });
  assert.deepEqual(log.lines, ["info completion of record r-1 is in done"]);
});

test("every 30 s of work one summary, and none without work", (t) => {
  const { log, own, pass } = start(t);
  pass();
  assert.deepEqual(log.lines, []);
  ended("finished");
  ended("finished");
  ended("finished", false);
  ended("failed");
  tell("group.joined", { topic: "t", partitions: [0, 1] });
  tell("lag.measured", { topic: "t", partition: 0, committed: 1, lag: 40 });
  tell("lag.measured", { topic: "t", partition: 1, committed: 1, lag: 2 });
  own.state = { ...IDLE, inFlight: 25, stepsRunning: 16, stepsWaiting: 9 };
  pass();
  assert.deepEqual(log.lines, [
    "info in 30 s: 2 done, 1 failed; now: 25 in flight, 16 steps running, 9 waiting, lag 42",
  ]);
  assert.deepEqual(log.fields, [
    { done: 2, failed: 1, inFlight: 25, stepsRunning: 16, stepsWaiting: 9, lag: 42 },
  ]);
  tell("group.joined", { topic: "t", partitions: [1] });
  pass();
  assert.match(log.lines[1] ?? "", /0 done, 0 failed; .* lag 2$/);
  own.state = IDLE;
  pass();
  assert.equal(log.lines.length, 2);
});

test("the end of a stop says what was handed over, the first few by name", (t) => {
  const { log, end } = start(t);
  tell("execution.handed-back", of("in an outage"));
  tell("worker.stopping", { worker: "w", running: 2 });
  for (const id of ["a", "b", "c", "d", "e", "f", "g"]) tell("execution.handed-back", of(id));
  tell("execution.handed-back", of("a", "a:d1"));
  end();
  assert.deepEqual(log.lines, ["info stopped: handed over 7 executions: a, b, c, d, e and 2 more"]);
});

test("a stop that leaves nothing says so, and an end without a stop says nothing", (t) => {
  const { log, end } = start(t);
  tell("worker.stopping", { worker: "w", running: 0 });
  end();
  assert.deepEqual(log.lines, ["info stopped: no execution had to be handed over"]);
  const other = createMemoryLog();
  startProgressLog({ log: other, state: () => IDLE })[Symbol.dispose]();
  tell("completion.published", { ...of("r-1"), topic: "done", key: "k" });
  assert.deepEqual(other.lines, []);
});
