import assert from "node:assert/strict";
import { defineScenario } from "../../crash-test/scenario.ts";
import type { Batch, BatchRequest } from "./records.ts";
import { SimulatedError } from "./simulated-trouble.ts";

const RECORD = "4711";
const BATCH_SIZE = 10;
const ROWS = 65;
const BATCHES = 7;

/** A row store in memory, with the rows of one record. As the real one does, it takes a key once. */
const createRecords = () => {
  let rows = ROWS;
  const ledger = new Map<string, Batch & BatchRequest>();
  return {
    ledger,
    countRows: () => rows,
    deleteBatch: async (request: BatchRequest): Promise<Batch> => {
      const entry = ledger.get(request.key);
      if (entry) return { ...entry, repeated: true };
      const deleted = Math.min(rows, request.size);
      rows -= deleted;
      const batch = { deleted, rowsRemain: rows > 0, repeated: false };
      ledger.set(request.key, { ...request, ...batch });
      return batch;
    },
  };
};

/** Fails the third time. */
const createTrouble = () => {
  let calls = 0;
  return async (recordId: string) => {
    calls += 1;
    if (calls === 3) throw new SimulatedError(`simulated error while processing record ${recordId}`);
  };
};

/** A record of seven batches in two segments, one of which fails at its first try. */
export const scenario = defineScenario({
  settings: { BATCH_SIZE: String(BATCH_SIZE), BATCHES_PER_SEGMENT: "4" },
  message: { key: RECORD, value: JSON.stringify({ recordId: RECORD }), headers: { "trace-id": "abc" } },
  effects: () => ({ records: createRecords(), simulateTrouble: createTrouble() }),

  expect: ({ effects: { records }, calls, published }) => {
    assert.equal(records.countRows(), 0, "expected no row to be left");
    assert.deepEqual(
      [...records.ledger.values()].map(({ batch }) => batch),
      Array.from({ length: BATCHES }, (_, batch) => batch),
      "expected each batch once, in order",
    );
    const isBatch = ({ name }: { name: string }) => name === "records.deleteBatch";
    const batchesBefore = calls
      .slice(
        0,
        calls.findIndex(({ name }) => name === "publish"),
      )
      .filter(isBatch);
    const keys = new Set(batchesBefore.map(({ idempotencyKey }) => idempotencyKey));
    assert.equal(keys.size, BATCHES, "expected the completion after the last batch");
    const completions = new Set(published.map(({ key, idempotencyKey }) => `${key} ${idempotencyKey}`));
    assert.equal(completions.size, 1, "expected one completion, however often it is repeated");
    assert.equal(published[0]?.key, RECORD);
  },
});
