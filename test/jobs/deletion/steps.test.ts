import assert from "node:assert/strict";
import { test } from "node:test";
import { type Batch, type BatchRequest, RecordStoreError } from "../../../src/jobs/deletion/records.ts";
import { createSteps } from "../../../src/jobs/deletion/steps.ts";
import type { Completion, StepContext } from "../../../src/worker/job.ts";
import { createMemoryLog } from "../../helpers/unit-log.ts";

const deletion = { recordId: "r-1", batchesPerSegment: 5 };

const contextOf = (idempotencyKey: string, attempt = 1): StepContext => ({
  idempotencyKey,
  step: "step",
  executionId: "r-1",
  attempt,
  message: { id: "r-1", partition: 3, offset: "41" },
});

interface Options {
  readonly batchSize?: number;
  readonly trouble?: Error;
  readonly publishFailure?: Error;
}

const build = (
  answers: readonly (Batch | Error)[],
  { batchSize = 10, trouble, publishFailure }: Options = {},
) => {
  const requests: BatchRequest[] = [];
  const published: [key: string, completion: Completion][] = [];
  const log = createMemoryLog();
  const records = {
    deleteBatch: async (request: BatchRequest) => {
      requests.push(request);
      const answer = answers[requests.length - 1];
      if (answer === undefined || answer instanceof Error)
        throw answer ?? new Error("expected no more calls");
      return answer;
    },
  };
  const simulateTrouble = async (recordId: string) => {
    assert.equal(recordId, "r-1");
    if (trouble) throw trouble;
  };
  const publish = async ({ idempotencyKey }: StepContext, completion: Completion) => {
    if (publishFailure) throw publishFailure;
    published.push([idempotencyKey, completion]);
  };
  const repeats: string[] = [];
  const answered = ({ idempotencyKey }: StepContext) => void repeats.push(idempotencyKey);
  const tools = { publish, answered, log };
  const steps = createSteps({ records, simulateTrouble }, tools, { BATCH_SIZE: batchSize });
  return { steps, requests, published, repeats, log };
};

const more: Batch = { deleted: 10, rowsRemain: true, repeated: false };
const last: Batch = { deleted: 3, rowsRemain: false, repeated: false };

test("a batch is deleted under the step's idempotency key, and says whether rows remain", async () => {
  const { steps, requests } = build([more, last], { batchSize: 7 });
  assert.equal(await steps.deleteBatch(contextOf("key-0"), deletion, 0), true);
  assert.equal(await steps.deleteBatch(contextOf("key-1"), deletion, 1), false);
  assert.deepEqual(requests, [
    { key: "key-0", recordId: "r-1", batch: 0, size: 7 },
    { key: "key-1", recordId: "r-1", batch: 1, size: 7 },
  ]);
});

test("each message is printed once, in the order of the work", async () => {
  const { steps, log } = build([more, more, last]);
  for (const batch of [0, 1, 2]) await steps.deleteBatch(contextOf(`key-${batch}`), deletion, batch);
  assert.deepEqual(log.lines, [
    "info processing record r-1 in position 41",
    "info record r-1 still has rows to delete",
    "info record r-1 still has rows to delete",
    "info all rows deleted for record r-1 in position 41",
  ]);
});

test("a retry of the first batch does not say again that it begins", async () => {
  const { steps, log } = build([more]);
  await steps.deleteBatch(contextOf("key-0", 2), deletion, 0);
  assert.deepEqual(log.lines, ["info record r-1 still has rows to delete"]);
});

test("a batch that was deleted before a crash gives its answer and says only that", async () => {
  for (const answer of [more, last]) {
    const { steps, repeats, log } = build([{ ...answer, repeated: true }]);
    assert.equal(await steps.deleteBatch(contextOf("key-4"), deletion, 4), answer.rowsRemain);
    assert.deepEqual(log.lines, [
      "warn batch 4 of record r-1 was deleted before a crash: nothing deleted again",
    ]);
    assert.deepEqual(repeats, ["key-4"], "and the worker is told");
  }
});

test("trouble comes before anything is deleted, and is passed on as it is", async () => {
  const trouble = new Error("trouble");
  const { steps, requests, log } = build([more], { trouble });
  const failed = steps.deleteBatch(contextOf("key-0"), deletion, 0);
  await assert.rejects(failed, (error) => error === trouble);
  assert.deepEqual(requests, []);
  assert.deepEqual(log.lines, ["info processing record r-1 in position 41"]);
});

test("a failure of the row store is passed on as it is", async () => {
  const failure = new RecordStoreError("STORE_FAILED", "locked");
  const { steps, log } = build([failure]);
  const failed = steps.deleteBatch(contextOf("key-1"), deletion, 1);
  await assert.rejects(failed, (error) => error === failure);
  assert.deepEqual(log.lines, [], "nothing is said to be deleted");
});

test("the completion is [recordId, offset], keyed by record and published for its step", async () => {
  const { steps, published } = build([]);
  await steps.enqueueCompletion(contextOf("key-9"), { ...deletion, recordId: 'r "1"' });
  assert.deepEqual(published, [["key-9", { key: 'r "1"', value: '["r \\"1\\"","41"]' }]]);
});

test("a failure to publish is passed on as it is", async () => {
  const publishFailure = new Error("broker gone");
  const { steps, log } = build([], { publishFailure });
  const failed = steps.enqueueCompletion(contextOf("key-9"), deletion);
  await assert.rejects(failed, (error) => error === publishFailure);
  assert.deepEqual(log.lines, []);
});
