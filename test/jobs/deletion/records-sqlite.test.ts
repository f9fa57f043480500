import assert from "node:assert/strict";
import { existsSync, mkdtempSync, renameSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { monitorEventLoopDelay } from "node:perf_hooks";
import { DatabaseSync } from "node:sqlite";
import { type TestContext, test } from "node:test";
import { openRecords } from "../../../src/jobs/deletion/open-records.ts";
import type { RecordStore } from "../../../src/jobs/deletion/records.ts";
import { batchOf, failsWith, testContract } from "./records-contract.ts";

const makePath = (t: TestContext): string => {
  const folder = mkdtempSync(join(tmpdir(), "records-"));
  t.after(() => rmSync(folder, { recursive: true }));
  return join(folder, "data", "records.db");
};

const open = async (
  t: TestContext,
  path: string,
  { worker = "worker-1", lockWaitMs = 20 } = {},
): Promise<RecordStore> => {
  const records = await openRecords(path, { worker, lockWaitMs });
  t.after(() => records[Symbol.asyncDispose]());
  return records;
};

/** A second handle on the file, for what another program might do to it. */
const openRaw = (t: TestContext, path: string): DatabaseSync => {
  const db = new DatabaseSync(path);
  t.after(() => db.isOpen && db.close());
  return db;
};

testContract({
  makeStore: async (t) => {
    const path = makePath(t);
    return (options) => open(t, path, options);
  },
});

test("while another program holds the lock a batch fails whole, and later works", async (t) => {
  const path = makePath(t);
  const records = await open(t, path);
  await records.addRows(new Map([["r", 12]]));
  const other = openRaw(t, path);
  other.exec("BEGIN IMMEDIATE");
  const locked = failsWith("STORE_FAILED", /database is locked/);
  for (let round = 0; round < 2; round++) {
    await assert.rejects(records.deleteBatch(batchOf(0)), locked);
    await assert.rejects(records.addRows(new Map([["s", 1]])), locked);
  }
  assert.equal(await records.countRows(), 12, "reading needs no lock");
  other.exec("ROLLBACK");
  const first = { deleted: 10, rowsRemain: true, repeated: false };
  assert.deepEqual(await records.deleteBatch(batchOf(0)), first);
});

test("a batch waits for another program's lock, and everything else goes on meanwhile", async (t) => {
  const path = makePath(t);
  const records = await open(t, path, { lockWaitMs: 20_000 });
  const ids = Array.from({ length: 200 }, (_, i) => `r-${i}`);
  await records.addRows(new Map(ids.map((id) => [id, 1])));
  const other = openRaw(t, path);
  other.exec("BEGIN IMMEDIATE");

  const delay = monitorEventLoopDelay({ resolution: 5 });
  delay.enable();
  let done = 0;
  const batches = ids.map((id) => records.deleteBatch(batchOf(0, id)).finally(() => done++));
  let ticks = 0;
  const held = Promise.withResolvers<void>();
  const timer = setInterval(() => ++ticks === 100 && held.resolve(), 10);
  await held.promise;
  clearInterval(timer);
  delay.disable();
  assert.equal(done, 0, "all wait");
  // A wait on the event loop would be one of at least a second.
  assert.ok(delay.max / 1e6 < 500, `the event loop was held up for ${delay.max / 1e6} ms`);

  other.exec("COMMIT");
  for (const { deleted } of await Promise.all(batches)) assert.equal(deleted, 1);
  assert.equal(await records.countRows(), 0);
});

test("a store that another process is making is opened once that is done", async (t) => {
  const path = makePath(t);
  await (await open(t, path))[Symbol.asyncDispose]();
  const fresh = join(path, "..", "fresh.db");
  const other = openRaw(t, fresh);
  other.exec("BEGIN EXCLUSIVE");
  await assert.rejects(open(t, fresh), failsWith("STORE_FAILED", /database is locked/));
  const opening = open(t, fresh, { lockWaitMs: 20_000 });
  setImmediate(() => other.close());
  assert.equal(await (await opening).countRows(), 0);
});

test("a batch that cannot be entered in the ledger deletes nothing", async (t) => {
  const path = makePath(t);
  const records = await open(t, path);
  await records.addRows(new Map([["r", 12]]));
  const other = openRaw(t, path);
  // Unlike a failure of the disk, this one leaves the transaction open.
  other.exec("CREATE TRIGGER refuse BEFORE INSERT ON ledger BEGIN SELECT RAISE(FAIL, 'refused'); END");
  await assert.rejects(records.deleteBatch(batchOf(0)), failsWith("STORE_FAILED", /refused/));
  assert.equal(await records.countRows(), 12);
  other.exec("DROP TRIGGER refuse");
  assert.equal((await records.deleteBatch(batchOf(0))).deleted, 10);
});

test("on a full disk a batch fails whole, and later works", async (t) => {
  const path = makePath(t);
  let connection: DatabaseSync | undefined;
  const { exec } = DatabaseSync.prototype;
  const spy = t.mock.method(DatabaseSync.prototype, "exec", function (this: DatabaseSync, sql: string) {
    connection = this;
    return exec.call(this, sql);
  });
  const records = await open(t, path);
  spy.mock.restore();
  await records.addRows(new Map([["r", 12]]));

  // SQLite's own "database or disk is full", on the store's own connection.
  const pages = Number(connection?.prepare("PRAGMA page_count").get()?.page_count);
  connection?.exec(`PRAGMA max_page_count = ${pages}`);
  const full = failsWith("STORE_FAILED", /disk is full/);
  await assert.rejects(records.addRows(new Map([["many", 10_000]])), full);
  assert.equal(await records.countRows(), 12, "all or nothing");
  const batch = { ...batchOf(0), key: "x".repeat(100_000) };
  await assert.rejects(records.deleteBatch(batch), full);
  assert.equal(await records.countRows(), 12, "rows are deleted with their ledger entry or not at all");
  assert.deepEqual(await records.ledger(), []);

  connection?.exec("PRAGMA max_page_count = 1000000");
  assert.equal((await records.deleteBatch(batch)).deleted, 10);
});

test("a file that was deleted is told, and not taken for a record without rows", async (t) => {
  const path = makePath(t);
  const records = await open(t, path);
  await records.addRows(new Map([["r", 12]]));
  await records.deleteBatch(batchOf(0));
  const [aside, asideWal] = [`${path}.aside`, `${path}.aside-wal`];
  renameSync(path, aside);
  const gone = failsWith("STORE_REPLACED", /got none/);
  await assert.rejects(records.deleteBatch(batchOf(1)), gone);
  await assert.rejects(records.deleteBatch(batchOf(0)), gone, "even a repeated step");
  assert.ok(!existsSync(path), "no new file came in its place");
  renameSync(aside, path);
  assert.equal((await records.deleteBatch(batchOf(1))).rowsRemain, false, "it works once the file is back");
  assert.ok(!existsSync(asideWal));
});

test("another file in its place is told, by whom the first was open", async (t) => {
  const path = makePath(t);
  const records = await open(t, path);
  await records.addRows(new Map([["r", 12]]));
  await records.deleteBatch(batchOf(0));
  // Renamed, not deleted: the file system may give a new file the inode of a deleted one.
  renameSync(path, `${path}.aside`);
  const fresh = await open(t, path, { worker: "other" });
  const another = failsWith("STORE_REPLACED", /got another/);
  await assert.rejects(records.deleteBatch(batchOf(1)), another);
  await assert.rejects(records.deleteBatch(batchOf(0, "other")), another, "a first batch, too");
  assert.deepEqual(await fresh.ledger(), []);
});

test("a file of a newer release, and one that is no row store, are refused and left as they are", async (t) => {
  const path = makePath(t);
  await (await open(t, path))[Symbol.asyncDispose]();
  const raw = openRaw(t, path);
  raw.exec("PRAGMA user_version = 2");
  await assert.rejects(open(t, path), failsWith("STORE_VERSION", /expected schema version 1, got version 2/));

  const foreign = join(path, "..", "foreign.db");
  openRaw(t, foreign).exec("CREATE TABLE ledger (step_id TEXT)");
  await assert.rejects(open(t, foreign), failsWith("STORE_VERSION", /got tables without a version/));
  assert.deepEqual(
    openRaw(t, foreign)
      .prepare("SELECT name FROM sqlite_schema")
      .all()
      .map(({ name }) => name),
    ["ledger"],
  );
});

test("a file that is no database, or cannot be made, is a failure of the store", async (t) => {
  const path = makePath(t);
  await open(t, path);
  const failed = failsWith("STORE_FAILED");
  await assert.rejects(open(t, join(path, "below", "a-file.db")), failed);
  await assert.rejects(open(t, import.meta.filename), failed);
});
