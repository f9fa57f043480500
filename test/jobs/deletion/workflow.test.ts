import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import type { BatchRequest } from "../../../src/jobs/deletion/records.ts";
import { createSteps } from "../../../src/jobs/deletion/steps.ts";
import { createWorkflow, type RecordMessage } from "../../../src/jobs/deletion/workflow.ts";
import { createSemaphore } from "../../../src/support/semaphore.ts";
import { HEADERS } from "../../../src/worker/dead-letter.ts";
import { NEVER_MS } from "../../../src/worker/step-options.ts";
import { createMemoryLog } from "../../helpers/unit-log.ts";
import { createFakeProducer } from "../../helpers/unit-producer.ts";
import { startLocalResonate } from "../../helpers/unit-resonate.ts";

const GROUP = "deleters";

interface Play {
  /** How many batches the record has. */
  readonly batches: number;
  readonly batchesPerSegment?: number;
  readonly pauseMs?: number;
  readonly maxAttempts?: number;
  /** How often a batch fails before it succeeds. */
  readonly failures?: Readonly<Record<number, number>>;
  readonly producerFailures?: readonly Error[];
  readonly deadline?: number;
  /** The time when so many effects have happened. */
  readonly now?: (effects: number) => number;
}

/** Plays the workflow of one record with the steps of production, whose effects are noted in order. */
const play = async (t: TestContext, options: Play) => {
  const { batches, batchesPerSegment = 100, pauseMs = 0, maxAttempts = 100, failures = {} } = options;
  const { deadline = 1000, now = () => 0 } = options;
  const effects: string[] = [];
  const requests: BatchRequest[] = [];
  const failed = new Map<number, number>();
  const producer = createFakeProducer(options.producerFailures);
  const steps = createSteps({
    records: {
      deleteBatch: (request) => {
        const { batch } = request;
        requests.push(request);
        effects.push(`batch ${batch}`);
        failed.set(batch, (failed.get(batch) ?? 0) + 1);
        if ((failed.get(batch) ?? 0) <= (failures[batch] ?? 0)) throw new Error(`batch ${batch} failed`);
        return { deleted: 1, rowsRemain: batch < batches - 1, repeated: false };
      },
    },
    producer: {
      send: (sent) => {
        effects.push(sent.topic);
        return producer.send(sent);
      },
    },
    topics: { source: "source", completions: "completion", deadLetters: "dead letter" },
    batchSize: 10,
    running: createSemaphore(16),
    latencyMs: 0,
    failureRate: 0,
    random: () => 0.5,
    now: () => now(effects.length),
    log: createMemoryLog(),
  });

  const resonate = startLocalResonate(t, GROUP);
  const workflow = resonate.register(
    createWorkflow(steps, { target: `local://any@${GROUP}`, pauseMs, maxAttempts, retryDelayMs: 2 }),
  );
  for (const step of Object.values(steps)) resonate.register(step);
  const record: RecordMessage = {
    recordId: "r",
    partition: 1,
    offset: "41",
    attempt: 0,
    deadline,
    batchesPerSegment,
  };
  const handle = await workflow.beginRun("r", record, 0, resonate.options({ timeout: NEVER_MS }));
  const outcome = await handle.result().then(
    (result) => ({ result }),
    (error: Error) => ({ error: error.message }),
  );
  return { outcome, effects, requests, sent: producer.sent };
};

const batchesTo = (end: number) => Array.from({ length: end }, (_, batch) => `batch ${batch}`);

test("batches run in order, then the completion, once each", async (t) => {
  const { outcome, effects, sent } = await play(t, { batches: 4 });
  assert.deepEqual(outcome, { result: "workflow r completed" });
  assert.deepEqual(effects, [...batchesTo(4), "completion"]);
  assert.deepEqual(
    sent.map(({ message }) => message.value),
    ['["r","41"]'],
  );
});

test("a record of one batch does not sleep", async (t) => {
  const { outcome, effects } = await play(t, { batches: 1, pauseMs: 3_600_000 });
  assert.deepEqual(outcome, { result: "workflow r completed" });
  assert.deepEqual(effects, ["batch 0", "completion"]);
});

test("a durable sleep stands between two batches and runs no step again", async (t) => {
  const before = performance.now();
  const { outcome, effects } = await play(t, { batches: 4, pauseMs: 60 });
  assert.ok(performance.now() - before >= 3 * 60);
  assert.deepEqual(outcome, { result: "workflow r completed" });
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
    const { outcome, effects, requests } = await play(t, { batches, batchesPerSegment, pauseMs: 1 });
    assert.deepEqual(outcome, { result: "workflow r completed" });
    assert.deepEqual(effects, [...batchesTo(batches), "completion"]);
    const ids = requests.map(({ stepId }) => stepId);
    assert.equal(new Set(ids).size, batches, "each batch has an idempotency key of its own");
    const executions = new Set(ids.map((id) => id.replace(/[:.]\d+$/, "")));
    assert.equal(executions.size, segments, [...executions].join());
  });
}

test("ids of later segments do not grow", async (t) => {
  const { requests } = await play(t, { batches: 12, batchesPerSegment: 1 });
  const lengths = requests.slice(1).map(({ stepId }) => stepId.length);
  assert.equal(new Set(lengths).size, 1, requests.map(({ stepId }) => stepId).join());
});

test("a step that fails is retried alone, under the same id, until it succeeds", async (t) => {
  const { outcome, effects, requests } = await play(t, { batches: 4, failures: { 0: 1, 2: 4 } });
  assert.deepEqual(outcome, { result: "workflow r completed" });
  assert.deepEqual(effects, [
    ...["batch 0", "batch 0"],
    "batch 1",
    ...["batch 2", "batch 2", "batch 2", "batch 2", "batch 2"],
    "batch 3",
    "completion",
  ]);
  assert.equal(new Set(requests.map(({ stepId }) => stepId)).size, 4);
});

test("a completion is tried beyond the bound that holds for batches", async (t) => {
  const producerFailures = Array.from({ length: 4 }, () => new Error("broker gone"));
  const { outcome, effects } = await play(t, { batches: 1, maxAttempts: 2, producerFailures });
  assert.deepEqual(outcome, { result: "workflow r completed" });
  assert.deepEqual(effects, ["batch 0", ...Array(5).fill("completion")]);
});

test("a batch that succeeds at its last attempt is no failure", async (t) => {
  const { outcome } = await play(t, { batches: 2, maxAttempts: 3, failures: { 1: 2 } });
  assert.deepEqual(outcome, { result: "workflow r completed" });
});

for (const [where, batch] of [
  ["first", 0],
  ["third", 5],
] as const) {
  test(`a batch without attempts left, in the ${where} segment, gives one dead letter and a rejected execution`, async (t) => {
    const { outcome, effects, sent } = await play(t, {
      batches: 7,
      batchesPerSegment: 2,
      pauseMs: 1,
      maxAttempts: 3,
      failures: { [batch]: 1000 },
      producerFailures: [new Error("broker gone")],
    });
    assert.deepEqual(outcome, { error: `batch ${batch} failed` });
    const tries = Array(3).fill(`batch ${batch}`);
    assert.deepEqual(effects, [...batchesTo(batch), ...tries, "dead letter", "dead letter"]);
    assert.deepEqual(
      sent.map(({ topic, message }) => [topic, message.key, message.headers?.[HEADERS.error]]),
      [["dead letter", "r", `batch ${batch} failed`]],
    );
  });
}

test("past its deadline a record goes to the dead letters without another try", async (t) => {
  const deadline = Date.parse("2020-01-01");
  const { outcome, effects, sent } = await play(t, { batches: 3, deadline, now: () => deadline + 1 });
  const error = "expected record r to be done by 2020-01-01T00:00:00.000Z, got to batch 0";
  assert.deepEqual(outcome, { error });
  assert.deepEqual(effects, ["dead letter"]);
  assert.equal(sent[0]?.message.headers?.[HEADERS.error], error);
});

test("a deadline that passes while it sleeps stops a record at its next batch", async (t) => {
  const now = (effects: number) => (effects === 0 ? 0 : 1001);
  const { outcome, effects } = await play(t, { batches: 3, pauseMs: 20, deadline: 1000, now });
  assert.deepEqual(outcome, {
    error: "expected record r to be done by 1970-01-01T00:00:01.000Z, got to batch 1",
  });
  assert.deepEqual(effects, ["batch 0", "dead letter"]);
});
