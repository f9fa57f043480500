import assert from "node:assert/strict";
import { existsSync, mkdtempSync, renameSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { type TestContext, test } from "node:test";
import { openRecords, type RecordStore, RecordStoreError } from "../../../src/jobs/deletion/records.ts";

const makePath = (t: TestContext): string => {
  const folder = mkdtempSync(join(tmpdir(), "records-"));
  t.after(() => rmSync(folder, { recursive: true }));
  return join(folder, "data", "records.db");
};

const open = (t: TestContext, path: string, worker = "worker-1"): RecordStore => {
  const records = openRecords(path, { worker, busyTimeoutMs: 5 });
  t.after(() => records[Symbol.dispose]());
  return records;
};

/** A second handle on the file, for what another program might do to it. */
const openRaw = (t: TestContext, path: string): DatabaseSync => {
  const db = new DatabaseSync(path);
  t.after(() => db.isOpen && db.close());
  return db;
};

const replaceFile = (path: string) => {
  for (const suffix of ["", "-wal", "-shm"]) rmSync(`${path}${suffix}`, { force: true });
};

const step = (batch: number, recordId = "r", size = 10) => ({
  key: `${recordId}:${batch}`,
  recordId,
  batch,
  size,
});

const failsWith = (code: "STORE_FAILED" | "STORE_REPLACED") => (error: unknown) => {
  assert.ok(error instanceof RecordStoreError, `expected a RecordStoreError, got ${error}`);
  assert.equal(error.code, code, error.message);
  assert.equal(error.canRetry, true);
  return true;
};

test("a record's rows go batch by batch, and the last batch says that none remain", async (t) => {
  const records = open(t, makePath(t));
  records.addRows(new Map([["r", 25]]));
  assert.equal(records.countRows(), 25);
  assert.deepEqual(await records.deleteBatch(step(0)), { deleted: 10, rowsRemain: true, repeated: false });
  assert.deepEqual(await records.deleteBatch(step(1)), { deleted: 10, rowsRemain: true, repeated: false });
  assert.equal(records.countRows(), 5);
  assert.deepEqual(await records.deleteBatch(step(2)), { deleted: 5, rowsRemain: false, repeated: false });
  assert.equal(records.countRows(), 0);
});

test("a record whose rows fill its batches exactly needs no empty batch", async (t) => {
  const records = open(t, makePath(t));
  records.addRows(new Map([["r", 20]]));
  assert.equal((await records.deleteBatch(step(0))).rowsRemain, true);
  assert.deepEqual(await records.deleteBatch(step(1)), { deleted: 10, rowsRemain: false, repeated: false });
});

test("a record without rows is done with its first batch", async (t) => {
  const records = open(t, makePath(t));
  records.addRows(new Map([["other", 3]]));
  assert.deepEqual(await records.deleteBatch(step(0)), { deleted: 0, rowsRemain: false, repeated: false });
  assert.equal(records.countRows(), 3);
});

test("records do not touch each other's rows, whatever their ids hold", async (t) => {
  const records = open(t, makePath(t));
  const ids = ["r", "r ", "R", "'; DROP TABLE rows; --", "%", "記録🙂", "x".repeat(255)];
  records.addRows(new Map(ids.map((id) => [id, 15])));
  for (const [index, id] of ids.entries()) {
    assert.equal((await records.deleteBatch(step(0, id))).deleted, 10);
    assert.equal((await records.deleteBatch(step(1, id))).deleted, 5);
    assert.equal(records.countRows(), (ids.length - index - 1) * 15);
  }
  assert.deepEqual(
    records.ledger().map(({ recordId }) => recordId),
    ids.flatMap((id) => [id, id]),
  );
});

test("the ledger has one entry a batch, in the order in which they were applied", async (t) => {
  const records = open(t, makePath(t), "worker-7");
  records.addRows(new Map(Object.entries({ a: 11, b: 1 })));
  const before = Date.now();
  for (const request of [step(0, "a"), step(0, "b"), step(1, "a")]) await records.deleteBatch(request);
  const entries = records.ledger();
  const expected = { worker: "worker-7", repeats: 0 };
  assert.deepEqual(
    entries.map(({ appliedAt, ...entry }) => entry),
    [
      { key: "a:0", recordId: "a", batch: 0, deleted: 10, ...expected },
      { key: "b:0", recordId: "b", batch: 0, deleted: 1, ...expected },
      { key: "a:1", recordId: "a", batch: 1, deleted: 1, ...expected },
    ],
  );
  for (const { appliedAt } of entries) assert.ok(appliedAt >= before && appliedAt <= Date.now());
});

test("a step that asks again gets its recorded answer, nothing is deleted, and it is counted", async (t) => {
  const records = open(t, makePath(t));
  records.addRows(new Map([["r", 15]]));
  await records.deleteBatch(step(0));
  for (let repeat = 1; repeat <= 3; repeat++) {
    assert.deepEqual(await records.deleteBatch(step(0)), { deleted: 10, rowsRemain: true, repeated: true });
    assert.equal(records.countRows(), 5);
    assert.equal(records.ledger()[0]?.repeats, repeat);
  }
  await records.deleteBatch(step(1));
  // The answer is that of its time: rows did remain then.
  assert.deepEqual(await records.deleteBatch(step(0)), { deleted: 10, rowsRemain: true, repeated: true });
  assert.deepEqual(await records.deleteBatch(step(1)), { deleted: 5, rowsRemain: false, repeated: true });
  assert.equal(records.ledger().length, 2);
});

test("rows are added once for each record, and none come back that were deleted meanwhile", async (t) => {
  const records = open(t, makePath(t));
  records.addRows(new Map([["r", 12]]));
  records.addRows(new Map([["r", 12]]));
  assert.equal(records.countRows(), 12);
  await records.deleteBatch(step(0));
  records.addRows(
    new Map([
      ["r", 12],
      ["new", 1],
    ]),
  );
  assert.equal(records.countRows(), 3);
});

test("two workers share a file: each sees the other's batches at once", async (t) => {
  const path = makePath(t);
  const first = open(t, path, "first");
  const second = open(t, path, "second");
  first.addRows(new Map([["r", 25]]));
  assert.equal(second.countRows(), 25);
  await first.deleteBatch(step(0));
  assert.equal((await second.deleteBatch(step(1))).deleted, 10);
  assert.deepEqual(await second.deleteBatch(step(0)), { deleted: 10, rowsRemain: true, repeated: true });
  assert.equal((await first.deleteBatch(step(2))).rowsRemain, false);
  assert.deepEqual(
    first.ledger().map(({ worker, repeats }) => [worker, repeats]),
    [
      ["first", 1],
      ["second", 0],
      ["first", 0],
    ],
  );
});

test("what was written outlives the connection", async (t) => {
  const path = makePath(t);
  {
    using records = openRecords(path, { worker: "gone" });
    records.addRows(new Map([["r", 12]]));
    await records.deleteBatch(step(0));
  }
  const records = open(t, path);
  assert.equal(records.countRows(), 2);
  assert.deepEqual(await records.deleteBatch(step(0)), { deleted: 10, rowsRemain: true, repeated: true });
});

test("while another program holds the lock a batch fails whole, and later works", async (t) => {
  const path = makePath(t);
  const records = open(t, path);
  records.addRows(new Map([["r", 12]]));
  const other = openRaw(t, path);
  other.exec("BEGIN IMMEDIATE");
  for (let round = 0; round < 2; round++) {
    await assert.rejects(records.deleteBatch(step(0)), failsWith("STORE_FAILED"));
    assert.throws(() => records.addRows(new Map([["s", 1]])), failsWith("STORE_FAILED"));
  }
  assert.equal(records.countRows(), 12, "reading needs no lock");
  other.exec("ROLLBACK");
  assert.deepEqual(await records.deleteBatch(step(0)), { deleted: 10, rowsRemain: true, repeated: false });
});

test("a batch that cannot be entered in the ledger deletes nothing", async (t) => {
  const path = makePath(t);
  const records = open(t, path);
  records.addRows(new Map([["r", 12]]));
  const other = openRaw(t, path);
  // Unlike a failure of the disk, this one leaves the transaction open.
  other.exec("CREATE TRIGGER refuse BEFORE INSERT ON ledger BEGIN SELECT RAISE(FAIL, 'refused'); END");
  await assert.rejects(records.deleteBatch(step(0)), failsWith("STORE_FAILED"));
  assert.equal(records.countRows(), 12);
  other.exec("DROP TRIGGER refuse");
  assert.equal((await records.deleteBatch(step(0))).deleted, 10);
});

test("on a full disk a batch fails whole, and later works", async (t) => {
  const path = makePath(t);
  let connection: DatabaseSync | undefined;
  const { exec } = DatabaseSync.prototype;
  const spy = t.mock.method(DatabaseSync.prototype, "exec", function (this: DatabaseSync, sql: string) {
    connection = this;
    return exec.call(this, sql);
  });
  const records = open(t, path);
  spy.mock.restore();
  records.addRows(new Map([["r", 12]]));

  // SQLite's own "database or disk is full", on the store's own connection.
  const pages = Number(connection?.prepare("PRAGMA page_count").get()?.page_count);
  connection?.exec(`PRAGMA max_page_count = ${pages}`);
  const many = new Map([["many", 10_000]]);
  assert.throws(() => records.addRows(many), failsWith("STORE_FAILED"));
  assert.throws(() => records.addRows(many), /disk is full/);
  assert.equal(records.countRows(), 12, "all or nothing");
  const batch = { ...step(0), key: "x".repeat(100_000) };
  await assert.rejects(records.deleteBatch(batch), failsWith("STORE_FAILED"));
  assert.equal(records.countRows(), 12, "rows are deleted with their ledger entry or not at all");
  assert.deepEqual(records.ledger(), []);

  connection?.exec("PRAGMA max_page_count = 1000000");
  assert.equal((await records.deleteBatch(batch)).deleted, 10);
});

test("a file that was deleted is told, and not taken for a record without rows", async (t) => {
  const path = makePath(t);
  const records = open(t, path);
  records.addRows(new Map([["r", 12]]));
  await records.deleteBatch(step(0));
  const [aside, asideWal] = [`${path}.aside`, `${path}.aside-wal`];
  renameSync(path, aside);
  await assert.rejects(records.deleteBatch(step(1)), failsWith("STORE_REPLACED"));
  await assert.rejects(records.deleteBatch(step(0)), failsWith("STORE_REPLACED"), "even a repeated step");
  assert.ok(!existsSync(path), "no new file came in its place");
  renameSync(aside, path);
  assert.equal(
    (await records.deleteBatch(step(1))).rowsRemain,
    false,
    "it works again once the file is back",
  );
  assert.ok(!existsSync(asideWal));
});

test("another file in its place is told, by whom the first was open", async (t) => {
  const path = makePath(t);
  const records = open(t, path);
  records.addRows(new Map([["r", 12]]));
  await records.deleteBatch(step(0));
  // Renamed, not deleted: the file system may give a new file the inode of a deleted one.
  renameSync(path, `${path}.aside`);
  const fresh = openRecords(path, { worker: "other" });
  t.after(() => fresh[Symbol.dispose]());
  await assert.rejects(records.deleteBatch(step(1)), failsWith("STORE_REPLACED"));
  await assert.rejects(
    records.deleteBatch(step(0, "other")),
    failsWith("STORE_REPLACED"),
    "a first batch, too",
  );
  assert.deepEqual(fresh.ledger(), []);
});

test("a new, empty file is told by a worker started on it, for every record with earlier batches", async (t) => {
  const path = makePath(t);
  {
    using records = openRecords(path, { worker: "before" });
    records.addRows(new Map([["r", 32]]));
    await records.deleteBatch(step(0));
    await records.deleteBatch(step(1));
  }
  replaceFile(path);
  const records = open(t, path, "after");
  await assert.rejects(records.deleteBatch(step(2)), failsWith("STORE_REPLACED"));
  await assert.rejects(records.deleteBatch(step(1)), failsWith("STORE_REPLACED"));
  assert.deepEqual(records.ledger(), [], "the refusal left no trace");
});

test("a file from which some batches are missing is told, too", async (t) => {
  const path = makePath(t);
  const records = open(t, path);
  records.addRows(new Map([["r", 42]]));
  for (const batch of [0, 1, 2]) await records.deleteBatch(step(batch));
  openRaw(t, path).exec("DELETE FROM ledger WHERE batch = 1");
  await assert.rejects(records.deleteBatch(step(3)), failsWith("STORE_REPLACED"));
  assert.equal(records.countRows(), 12);
});

test("a file that is no database, or cannot be made, is a failure of the store", (t) => {
  const path = makePath(t);
  const records = open(t, path);
  records[Symbol.dispose]();
  records[Symbol.dispose]();
  assert.throws(() => records.countRows(), failsWith("STORE_FAILED"), "a closed store");
  assert.throws(
    () => openRecords(join(path, "below", "a-file.db"), { worker: "w" }),
    failsWith("STORE_FAILED"),
  );
  assert.throws(() => openRecords(import.meta.filename, { worker: "w" }), failsWith("STORE_FAILED"));
});
