import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { type RecordStore, RecordStoreError } from "../../../src/jobs/deletion/records.ts";

/** Opens one store again and again, as workers do that share it; each is closed when the test ends. */
export type Open = (options?: { worker?: string; lockWaitMs?: number }) => Promise<RecordStore>;

export interface Contract {
  /** Makes an empty store for one test. */
  makeStore(t: TestContext): Promise<Open>;
}

/** The request of a record's batch, under the key of its step. */
export const batchOf = (batch: number, recordId = "r", size = 10) => ({
  key: `deletion/${recordId}/deleteBatch/${batch}`,
  recordId,
  batch,
  size,
});

export const failsWith =
  (code: RecordStoreError["code"], text = /./) =>
  (error: unknown): true => {
    assert.ok(error instanceof RecordStoreError, `expected a RecordStoreError, got ${error}`);
    assert.equal(error.code, code, error.message);
    assert.equal(error.canRetry, code !== "STORE_VERSION");
    assert.match(error.message, text);
    return true;
  };

/** What every row store does. To be called once at the top of a test file. */
export const testContract = ({ makeStore }: Contract): void => {
  test("a record's rows go batch by batch, and the last batch says that none remain", async (t) => {
    const records = await (await makeStore(t))();
    await records.addRows(new Map([["r", 25]]));
    assert.equal(await records.countRows(), 25);
    const more = { deleted: 10, rowsRemain: true, repeated: false };
    assert.deepEqual(await records.deleteBatch(batchOf(0)), more);
    assert.deepEqual(await records.deleteBatch(batchOf(1)), more);
    assert.equal(await records.countRows(), 5);
    const last = { deleted: 5, rowsRemain: false, repeated: false };
    assert.deepEqual(await records.deleteBatch(batchOf(2)), last);
    assert.equal(await records.countRows(), 0);
  });

  test("a record whose rows fill its batches exactly needs no empty batch", async (t) => {
    const records = await (await makeStore(t))();
    await records.addRows(new Map([["r", 20]]));
    assert.equal((await records.deleteBatch(batchOf(0))).rowsRemain, true);
    const last = { deleted: 10, rowsRemain: false, repeated: false };
    assert.deepEqual(await records.deleteBatch(batchOf(1)), last);
  });

  test("a record without rows is done with its first batch", async (t) => {
    const records = await (await makeStore(t))();
    await records.addRows(new Map([["other", 3]]));
    const none = { deleted: 0, rowsRemain: false, repeated: false };
    assert.deepEqual(await records.deleteBatch(batchOf(0)), none);
    assert.equal(await records.countRows(), 3);
  });

  test("records do not touch each other's rows, whatever their ids hold", async (t) => {
    const records = await (await makeStore(t))();
    const ids = ["r", "r ", "R", "'; DROP TABLE rows; --", "%", "é", "e\u0301", "記録🙂", "x".repeat(255)];
    await records.addRows(new Map(ids.map((id) => [id, 15])));
    for (const [index, id] of ids.entries()) {
      assert.equal((await records.deleteBatch(batchOf(0, id))).deleted, 10);
      assert.equal((await records.deleteBatch(batchOf(1, id))).deleted, 5);
      assert.equal(await records.countRows(), (ids.length - index - 1) * 15);
    }
    assert.deepEqual(
      (await records.ledger()).map(({ recordId }) => recordId),
      ids.flatMap((id) => [id, id]),
    );
  });

  test("the ledger has one entry a batch, in the order in which they were applied", async (t) => {
    const records = await (await makeStore(t))({ worker: "worker-7" });
    await records.addRows(new Map(Object.entries({ a: 11, b: 1 })));
    const before = Date.now();
    const requests = [batchOf(0, "a"), batchOf(0, "b"), batchOf(1, "a")];
    for (const request of requests) await records.deleteBatch(request);
    const entries = await records.ledger();
    assert.deepEqual(
      entries.map(({ appliedAt, ...entry }) => entry),
      requests.map(({ key, recordId, batch }, i) => ({
        key,
        recordId,
        batch,
        deleted: [10, 1, 1][i],
        worker: "worker-7",
        repeats: 0,
      })),
    );
    for (const { appliedAt } of entries) assert.ok(appliedAt >= before && appliedAt <= Date.now());
  });

  test("a step that asks again gets its recorded answer, nothing is deleted, and it is counted", async (t) => {
    const records = await (await makeStore(t))();
    await records.addRows(new Map([["r", 15]]));
    await records.deleteBatch(batchOf(0));
    const first = { deleted: 10, rowsRemain: true, repeated: true };
    for (let repeat = 1; repeat <= 3; repeat++) {
      assert.deepEqual(await records.deleteBatch(batchOf(0)), first);
      assert.equal(await records.countRows(), 5);
      assert.equal((await records.ledger())[0]?.repeats, repeat);
    }
    await records.deleteBatch(batchOf(1));
    // The answer is that of its time: rows did remain then.
    assert.deepEqual(await records.deleteBatch(batchOf(0)), first);
    const last = { deleted: 5, rowsRemain: false, repeated: true };
    assert.deepEqual(await records.deleteBatch(batchOf(1)), last);
    assert.equal((await records.ledger()).length, 2);
  });

  test("of many who ask with one key at once one deletes, the others get its answer", async (t) => {
    const open = await makeStore(t);
    const stores = await Promise.all([open({ lockWaitMs: 20_000 }), open({ lockWaitMs: 20_000 })]);
    await stores[0].addRows(new Map([["r", 35]]));
    for (const batch of [0, 1, 2, 3]) {
      const answers = await Promise.all(
        Array.from({ length: 8 }, (_, i) => stores[i % 2 === 0 ? 0 : 1].deleteBatch(batchOf(batch))),
      );
      const expected = { deleted: batch < 3 ? 10 : 5, rowsRemain: batch < 3 };
      for (const { repeated, ...answer } of answers) assert.deepEqual(answer, expected);
      assert.equal(answers.filter(({ repeated }) => !repeated).length, 1);
    }
    assert.deepEqual(
      (await stores[1].ledger()).map(({ batch, repeats }) => [batch, repeats]),
      [0, 1, 2, 3].map((batch) => [batch, 7]),
    );
    assert.equal(await stores[1].countRows(), 0);
  });

  test("many records at once through two stores: every row goes once", async (t) => {
    const open = await makeStore(t);
    const stores = await Promise.all([
      open({ worker: "first", lockWaitMs: 20_000 }),
      open({ worker: "second", lockWaitMs: 20_000 }),
    ]);
    const ids = Array.from({ length: 40 }, (_, i) => `r-${i}`);
    await stores[0].addRows(new Map(ids.map((id, i) => [id, i + 1])));
    const finish = async (id: string, i: number) => {
      for (let batch = 0; ; batch++) {
        const store = stores[(i + batch) % 2 === 0 ? 0 : 1];
        if (!(await store.deleteBatch(batchOf(batch, id, 4))).rowsRemain) return;
      }
    };
    await Promise.all(ids.map(finish));
    const ledger = await stores[0].ledger();
    assert.equal(
      ledger.reduce((sum, { deleted }) => sum + deleted, 0),
      (40 * 41) / 2,
    );
    assert.equal(
      ledger.length,
      ids.map((_, i) => Math.ceil((i + 1) / 4)).reduce((sum, n) => sum + n, 0),
    );
    assert.deepEqual([...new Set(ledger.map(({ worker }) => worker))].sort(), ["first", "second"]);
    assert.equal(await stores[1].countRows(), 0);
  });

  test("rows are added once for each record, and none come back that were deleted meanwhile", async (t) => {
    const records = await (await makeStore(t))();
    await records.addRows(new Map([["r", 12]]));
    await records.addRows(new Map([["r", 12]]));
    assert.equal(await records.countRows(), 12);
    await records.deleteBatch(batchOf(0));
    await records.addRows(new Map(Object.entries({ r: 12, new: 1 })));
    assert.equal(await records.countRows(), 3);
    await records.addRows(new Map());
    assert.equal(await records.countRows(), 3);
  });

  test("two workers share a store: each sees the other's batches at once", async (t) => {
    const open = await makeStore(t);
    const first = await open({ worker: "first" });
    const second = await open({ worker: "second" });
    await first.addRows(new Map([["r", 25]]));
    assert.equal(await second.countRows(), 25);
    await first.deleteBatch(batchOf(0));
    assert.equal((await second.deleteBatch(batchOf(1))).deleted, 10);
    const again = { deleted: 10, rowsRemain: true, repeated: true };
    assert.deepEqual(await second.deleteBatch(batchOf(0)), again);
    assert.equal((await first.deleteBatch(batchOf(2))).rowsRemain, false);
    assert.deepEqual(
      (await first.ledger()).map(({ worker, repeats }) => [worker, repeats]),
      [
        ["first", 1],
        ["second", 0],
        ["first", 0],
      ],
    );
  });

  test("what was written outlives the connection", async (t) => {
    const open = await makeStore(t);
    const gone = await open();
    await gone.addRows(new Map([["r", 12]]));
    await gone.deleteBatch(batchOf(0));
    await gone[Symbol.asyncDispose]();
    await gone[Symbol.asyncDispose]();
    await assert.rejects(gone.countRows(), failsWith("STORE_FAILED"), "a closed store");
    const records = await open();
    assert.equal(await records.countRows(), 2);
    const again = { deleted: 10, rowsRemain: true, repeated: true };
    assert.deepEqual(await records.deleteBatch(batchOf(0)), again);
  });

  test("the schema is made once, however many come first", async (t) => {
    const open = await makeStore(t);
    const stores = await Promise.all(Array.from({ length: 5 }, () => open({ lockWaitMs: 20_000 })));
    await stores[0]?.addRows(new Map([["r", 3]]));
    for (const store of stores) assert.equal(await store.countRows(), 3);
  });

  test("of batches at the same moment one that fails fails none of the others", async (t) => {
    const records = await (await makeStore(t))();
    await records.addRows(new Map(["a", "b", "c"].map((id) => [id, 15])));
    const asked = [batchOf(0, "a"), batchOf(1, "b"), batchOf(0, "c")].map((one) => records.deleteBatch(one));
    const outcomes = await Promise.allSettled(asked);
    assert.deepEqual(
      outcomes.map(({ status }) => status),
      ["fulfilled", "rejected", "fulfilled"],
    );
    assert.equal(await records.countRows(), 25);
    assert.deepEqual((await records.ledger()).map(({ recordId }) => recordId).sort(), ["a", "c"]);
  });

  test("a store that lacks a record's earlier batches is told, and nothing is deleted", async (t) => {
    const records = await (await makeStore(t))();
    await records.addRows(new Map([["r", 42]]));
    await records.deleteBatch(batchOf(0));
    const missing = failsWith("STORE_REPLACED", /expected the 2 earlier batches of record r in the ledger/);
    await assert.rejects(records.deleteBatch(batchOf(2)), missing);
    assert.equal(await records.countRows(), 32);
    assert.equal((await records.ledger()).length, 1, "the refusal left no trace");
    await records.deleteBatch(batchOf(1));
    assert.equal((await records.deleteBatch(batchOf(2))).deleted, 10, "it works once they are there");
  });
};
