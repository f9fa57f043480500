import { mkdirSync, statSync } from "node:fs";
import { dirname } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { setTimeout } from "node:timers/promises";
import { createBatches } from "../../../support/batches.ts";
import { toError } from "../../../support/errors.ts";
import {
  type Batch,
  type BatchRequest,
  type RecordStore,
  RecordStoreError,
  type StoreOptions,
} from "../records.ts";

/** Each brings the schema from one version to the next; never change one that was released. */
const MIGRATIONS = [
  `CREATE TABLE rows (
     record_id TEXT NOT NULL, row_number INTEGER NOT NULL, PRIMARY KEY (record_id, row_number)
   ) WITHOUT ROWID;
   CREATE TABLE ledger (
     entry INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, record_id TEXT NOT NULL, batch INTEGER NOT NULL,
     deleted INTEGER NOT NULL, rows_remain INTEGER NOT NULL, worker TEXT NOT NULL, applied_at INTEGER NOT NULL,
     repeats INTEGER NOT NULL DEFAULT 0
   );
   CREATE INDEX ledger_by_record ON ledger (record_id, batch);`,
];

const MAX_LOCK_POLL_MS = 50;

/** SQLITE_BUSY: another process holds the lock. */
const isLocked = (error: unknown): boolean =>
  error instanceof Error && "errcode" in error && (Number(error.errcode) & 0xff) === 5;

const transact = <T>(db: DatabaseSync, work: () => T): T => {
  db.exec("BEGIN IMMEDIATE");
  try {
    const result = work();
    db.exec("COMMIT");
    return result;
  } catch (error) {
    if (db.isTransaction) db.exec("ROLLBACK");
    throw error;
  }
};

const migrate = (db: DatabaseSync, path: string): void => {
  const versionOf = () => Number(db.prepare("PRAGMA user_version").get()?.user_version);
  if (versionOf() === MIGRATIONS.length) return;
  transact(db, () => {
    const version = versionOf();
    const isForeign = version === 0 && db.prepare("SELECT 1 FROM sqlite_schema").get() !== undefined;
    if (isForeign || version > MIGRATIONS.length) {
      const got = isForeign ? "tables without a version" : `version ${version}`;
      throw new RecordStoreError(
        "STORE_VERSION",
        `row store ${path}: expected schema version ${MIGRATIONS.length}, got ${got}: use the release that made it, or another file`,
      );
    }
    for (const migration of MIGRATIONS.slice(version)) db.exec(migration);
    db.exec(`PRAGMA user_version = ${MIGRATIONS.length}`);
  });
};

/**
 * Opens the row store in a SQLite file, which is made, with its folder, if it is missing. Processes of one machine
 * may share it. The event loop is free while they wait for each other.
 *
 * @throws {RecordStoreError}
 */
export const openSqlite = async (
  path: string,
  { worker, lockWaitMs }: StoreOptions,
): Promise<RecordStore> => {
  /** Runs `work`, again while another process holds the lock, with whatever it throws made a RecordStoreError. */
  const guard = async <T>(work: () => T): Promise<T> => {
    const deadline = performance.now() + lockWaitMs;
    for (let delay = 1; ; delay = Math.min(delay * 2, MAX_LOCK_POLL_MS)) {
      try {
        return work();
      } catch (thrown) {
        if (thrown instanceof RecordStoreError) throw thrown;
        if (!isLocked(thrown) || performance.now() > deadline) {
          const { message } = toError(thrown);
          throw new RecordStoreError("STORE_FAILED", `row store ${path}: ${message}`, { cause: thrown });
        }
      }
      await setTimeout(delay);
    }
  };

  const db = await guard(() => {
    mkdirSync(dirname(path), { recursive: true });
    // SQLite's own wait for a lock would block the event loop.
    const opened = new DatabaseSync(path, { timeout: 0 });
    try {
      opened.exec("PRAGMA journal_mode = WAL");
      migrate(opened, path);
      return opened;
    } catch (error) {
      opened.close();
      throw error;
    }
  });
  const inode = statSync(path).ino;

  // An open SQLite file that was deleted goes on working, unseen by every other process.
  const assertSameFile = () => {
    const found = statSync(path, { throwIfNoEntry: false });
    if (found?.ino === inode) return;
    throw new RecordStoreError(
      "STORE_REPLACED",
      `row store ${path}: expected the file that was opened, got ${found ? "another" : "none"}; restart the worker once it is back`,
    );
  };

  const findEntry = db.prepare("UPDATE ledger SET repeats = repeats + 1 WHERE key = ? RETURNING *");
  const countBatches = db.prepare("SELECT count(*) AS n FROM ledger WHERE record_id = ? AND batch < ?");
  const deleteRows = db.prepare(
    "DELETE FROM rows WHERE record_id = ? AND row_number IN (SELECT row_number FROM rows WHERE record_id = ? ORDER BY row_number LIMIT ?)",
  );
  const findRow = db.prepare("SELECT 1 FROM rows WHERE record_id = ? LIMIT 1");
  const addEntry = db.prepare(
    "INSERT INTO ledger (key, record_id, batch, deleted, rows_remain, worker, applied_at) VALUES (?, ?, ?, ?, ?, ?, ?)",
  );
  const addRow = db.prepare("INSERT INTO rows (record_id, row_number) VALUES (?, ?)");

  const deleteBatch = ({ key, recordId, batch, size }: BatchRequest): Batch => {
    const entry = findEntry.get(key);
    if (entry) {
      return { deleted: Number(entry.deleted), rowsRemain: entry.rows_remain === 1, repeated: true };
    }
    if (Number(countBatches.get(recordId, batch)?.n) < batch) {
      throw new RecordStoreError(
        "STORE_REPLACED",
        `row store ${path}: expected the ${batch} earlier batches of record ${recordId} in the ledger, got fewer: the file is not the one they were applied to`,
      );
    }
    const deleted = Number(deleteRows.run(recordId, recordId, size).changes);
    const rowsRemain = findRow.get(recordId) !== undefined;
    addEntry.run(key, recordId, batch, deleted, Number(rowsRemain), worker, Date.now());
    return { deleted, rowsRemain, repeated: false };
  };

  return {
    // Each transaction waits for the disk: one serves all batches that are there.
    deleteBatch: createBatches({
      run: (requests: readonly BatchRequest[]) =>
        guard(() => {
          assertSameFile();
          return transact(db, () => requests.map(deleteBatch));
        }),
      isOutage: (error) => isLocked(toError(error).cause),
    }),
    addRows: (rowsByRecord) =>
      guard(() =>
        transact(db, () => {
          for (const [recordId, rows] of rowsByRecord) {
            if (findRow.get(recordId)) continue;
            for (let row = 0; row < rows; row++) addRow.run(recordId, row);
          }
        }),
      ),
    countRows: () => guard(() => Number(db.prepare("SELECT count(*) AS n FROM rows").get()?.n)),
    ledger: () =>
      guard(() =>
        db
          .prepare("SELECT * FROM ledger ORDER BY entry")
          .all()
          .map((entry) => ({
            key: String(entry.key),
            recordId: String(entry.record_id),
            batch: Number(entry.batch),
            deleted: Number(entry.deleted),
            worker: String(entry.worker),
            appliedAt: Number(entry.applied_at),
            repeats: Number(entry.repeats),
          })),
      ),
    [Symbol.asyncDispose]: async () => {
      if (db.isOpen) db.close();
    },
  };
};
