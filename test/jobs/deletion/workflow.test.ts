import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import type { BatchRequest } from "../../../src/jobs/deletion/records.ts";
import { createSteps } from "../../../src/jobs/deletion/steps.ts";
import { createWorkflow } from "../../../src/jobs/deletion/workflow.ts";
import { describe, OutageError } from "../../../src/support/errors.ts";
import { silentLog } from "../../../src/support/log.ts";
import type { Completion } from "../../../src/worker/job.ts";
import { endedIn, playExecution } from "../../helpers/unit-execution.ts";

interface Play {
  /** How many batches the record has. */
  readonly batches: number;
  readonly batchesPerSegment?: number;
  readonly pauseMs?: number;
  readonly maxAttempts?: number;
  /** How often a batch fails before it succeeds. */
  readonly failures?: Readonly<Record<number, number>>;
  /** What the first publications and dead letters fail with. */
  readonly brokerFailures?: readonly Error[];
  readonly deadline?: number;
  /** The time when so many effects have happened. */
  readonly now?: (effects: number) => number;
}

/** Plays the workflow of one record with the steps of production, whose effects are noted in order. */
const play = async (t: TestContext, options: Play) => {
  const { batches, batchesPerSegment = 100, pauseMs = 0, maxAttempts = 100, failures = {} } = options;
  const { deadline = 1000, now = () => 0 } = options;
  const effects: string[] = [];
  const batchRequests: BatchRequest[] = [];
  const published: Completion[] = [];
  const failed = new Map<number, number>();
  const brokerFailures = [...(options.brokerFailures ?? [])];
  const reachBroker = (effect: string) => {
    effects.push(effect);
    const failure = brokerFailures.shift();
    if (failure) throw failure;
  };
  const records = {
    deleteBatch: async (request: BatchRequest) => {
      const { batch } = request;
      batchRequests.push(request);
      effects.push(`batch ${batch}`);
      failed.set(batch, (failed.get(batch) ?? 0) + 1);
      if ((failed.get(batch) ?? 0) <= (failures[batch] ?? 0)) throw new Error(`batch ${batch} failed`);
      return { deleted: 1, rowsRemain: batch < batches - 1, repeated: false };
    },
  };
  const steps = createSteps(
    { records, simulateTrouble: async () => {} },
    {
      publish: async (_step, completion) => {
        reachBroker("completion");
        published.push(completion);
      },
      answered: () => {},
      log: silentLog,
    },
    { BATCH_SIZE: 10 },
  );
  const { outcome, requests, deadLetters } = await playExecution(t, {
    steps,
    workflow: createWorkflow(steps, { BATCH_PAUSE_MS: pauseMs }),
    input: { recordId: "r", batchesPerSegment },
    envelope: { id: "r", deadline },
    maxAttempts,
    now: () => now(effects.length),
    onDeadLetter: () => reachBroker("dead letter"),
  });
  const errors = deadLetters.map(({ error }) => describe(error));
  return { outcome, effects, batchRequests, published, errors, executions: endedIn(requests) };
};

const batchesTo = (end: number) => Array.from({ length: end }, (_, batch) => `batch ${batch}`);
const completed = { result: "workflow r completed" };

test("batches run in order, then the completion, once each", async (t) => {
  const { outcome, effects, published, batchRequests } = await play(t, { batches: 4 });
  assert.deepEqual(outcome, completed);
  assert.deepEqual(effects, [...batchesTo(4), "completion"]);
  assert.deepEqual(published, [{ key: "r", value: '["r","41"]' }]);
  assert.deepEqual(batchRequests[3], { key: "job/r/deleteBatch/3", recordId: "r", batch: 3, size: 10 });
});

test("a record of one batch does not sleep", async (t) => {
  const { outcome, effects } = await play(t, { batches: 1, pauseMs: 3_600_000 });
  assert.deepEqual(outcome, completed);
  assert.deepEqual(effects, ["batch 0", "completion"]);
});

test("a durable sleep stands between two batches and runs no step again", async (t) => {
  const before = performance.now();
  const { outcome, effects } = await play(t, { batches: 4, pauseMs: 60 });
  assert.ok(performance.now() - before >= 3 * 60);
  assert.deepEqual(outcome, completed);
  assert.deepEqual(effects, [...batchesTo(4), "completion"]);
});

for (const [batches, batchesPerSegment, segments] of [
  [7, 2, 4],
  [6, 2, 3],
  [3, 1, 3],
  [5, 5, 1],
  [6, 5, 2],
] as const) {
  test(`${batches} batches in segments of ${batchesPerSegment} are the same work in ${segments} executions`, async (t) => {
    const played = await play(t, { batches, batchesPerSegment, pauseMs: 1 });
    assert.deepEqual(played.outcome, completed);
    assert.deepEqual(played.effects, [...batchesTo(batches), "completion"]);
    const keys = played.batchRequests.map(({ key }) => key);
    assert.deepEqual(
      keys,
      Array.from({ length: batches }, (_, batch) => `job/r/deleteBatch/${batch}`),
      "each batch has an idempotency key of its own, as if it were one execution",
    );
    assert.equal(new Set(played.executions).size, segments, played.executions.join());
  });
}

test("ids of later segments do not grow", async (t) => {
  const { executions } = await play(t, { batches: 12, batchesPerSegment: 1 });
  const lengths = executions.filter((id) => id !== "r").map((id) => id.length);
  assert.equal(lengths.length, 11);
  assert.equal(new Set(lengths).size, 1, executions.join());
});

test("a step that fails is retried alone, under the same key, until it succeeds", async (t) => {
  const { outcome, effects, batchRequests } = await play(t, { batches: 4, failures: { 0: 1, 2: 4 } });
  assert.deepEqual(outcome, completed);
  assert.deepEqual(effects, [
    ...["batch 0", "batch 0"],
    "batch 1",
    ...["batch 2", "batch 2", "batch 2", "batch 2", "batch 2"],
    "batch 3",
    "completion",
  ]);
  assert.equal(new Set(batchRequests.map(({ key }) => key)).size, 4);
});

test("a completion is tried beyond the bound of attempts while the broker is away", async (t) => {
  const brokerFailures = Array.from({ length: 4 }, () => new OutageError("broker away"));
  const { outcome, effects } = await play(t, { batches: 1, maxAttempts: 2, brokerFailures });
  assert.deepEqual(outcome, completed);
  assert.deepEqual(effects, ["batch 0", ...Array(5).fill("completion")]);
});

test("a completion that the broker refuses at every attempt makes a dead letter", async (t) => {
  const brokerFailures = Array.from({ length: 2 }, () => new Error("topic is read-only"));
  const { outcome, effects, errors } = await play(t, { batches: 1, maxAttempts: 2, brokerFailures });
  assert.deepEqual(outcome, { error: "topic is read-only" });
  assert.deepEqual(effects, ["batch 0", "completion", "completion", "dead letter"]);
  assert.deepEqual(errors, ["topic is read-only"]);
});

test("a batch that succeeds at its last attempt is no failure", async (t) => {
  const { outcome } = await play(t, { batches: 2, maxAttempts: 3, failures: { 1: 2 } });
  assert.deepEqual(outcome, completed);
});

for (const [where, batch] of [
  ["first", 0],
  ["third", 5],
] as const) {
  test(`a batch without attempts left, in the ${where} segment, gives one dead letter and a rejected execution`, async (t) => {
    const { outcome, effects, errors } = await play(t, {
      batches: 7,
      batchesPerSegment: 2,
      pauseMs: 1,
      maxAttempts: 3,
      failures: { [batch]: 1000 },
      brokerFailures: [new Error("broker refuses")],
    });
    assert.deepEqual(outcome, { error: `batch ${batch} failed` });
    const tries = Array(3).fill(`batch ${batch}`);
    assert.deepEqual(effects, [...batchesTo(batch), ...tries, "dead letter", "dead letter"]);
    assert.deepEqual(errors, [`batch ${batch} failed`]);
  });
}

test("past its deadline a record goes to the dead letters without another try", async (t) => {
  const deadline = Date.parse("2020-01-01");
  const { outcome, effects, errors } = await play(t, { batches: 3, deadline, now: () => deadline + 1 });
  const error = "expected r to be done by 2020-01-01T00:00:00.000Z, got to step deleteBatch";
  assert.deepEqual(outcome, { error });
  assert.deepEqual(effects, ["dead letter"]);
  assert.deepEqual(errors, [error]);
});

test("a deadline that passes while it sleeps stops a record at its next batch", async (t) => {
  const now = (effects: number) => (effects === 0 ? 0 : 1001);
  const { outcome, effects } = await play(t, { batches: 3, pauseMs: 20, deadline: 1000, now });
  assert.deepEqual(outcome, {
    error: "expected r to be done by 1970-01-01T00:00:01.000Z, got to step deleteBatch",
  });
  assert.deepEqual(effects, ["batch 0", "dead letter"]);
});
