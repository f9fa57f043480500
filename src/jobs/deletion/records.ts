import { mkdirSync, statSync } from "node:fs";
import { dirname } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { toError } from "../../support/errors.ts";

/** The answer of one batch. */
export interface Batch {
  /** Rows this batch removed, when it ran. */
  readonly deleted: number;
  readonly rowsRemain: boolean;
  /** True when the batch had run before and this is its recorded answer: nothing was removed now. */
  readonly repeated: boolean;
}

/** One line of the ledger: a batch that was applied. Times are milliseconds since 1970. */
export interface LedgerEntry {
  readonly key: string;
  readonly recordId: string;
  readonly batch: number;
  readonly deleted: number;
  readonly worker: string;
  readonly appliedAt: number;
  /** How often the step asked again and was given this recorded answer. */
  readonly repeats: number;
}

/** What one batch is to do. */
export interface BatchRequest {
  /** Idempotency key of the step. */
  readonly key: string;
  readonly recordId: string;
  /** Position among the record's batches, from 0. */
  readonly batch: number;
  /** At most so many rows. */
  readonly size: number;
}

/** The row store: which rows of which record are left, and the ledger of the batches that removed the others. */
export interface RecordStore extends Disposable {
  /**
   * Removes at most `size` rows of a record and enters the batch in the ledger, in one transaction. A key that is in
   * the ledger already gets its recorded answer.
   *
   * @throws {RecordStoreError} nothing was removed
   */
  deleteBatch(request: BatchRequest): Promise<Batch>;
  /** Adds rows, numbered from 0, for each record that has none; all or nothing. */
  addRows(rowsByRecord: ReadonlyMap<string, number>): void;
  /** Rows left over all records. */
  countRows(): number;
  /** All batches applied, in the order in which they were. */
  ledger(): LedgerEntry[];
}

/**
 * `STORE_FAILED`: the database refused (locked, full, …); a retry can help.
 * `STORE_REPLACED`: the file is not the one that was opened, or lacks this record's earlier batches. Whether rows
 * remain cannot be known; a retry helps once the file is back.
 */
export class RecordStoreError extends Error {
  readonly canRetry = true;
  readonly code: "STORE_FAILED" | "STORE_REPLACED";
  constructor(code: "STORE_FAILED" | "STORE_REPLACED", message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = "RecordStoreError";
    this.code = code;
  }
}

const SCHEMA = `
  CREATE TABLE IF NOT EXISTS rows (
    record_id TEXT NOT NULL, row_number INTEGER NOT NULL, PRIMARY KEY (record_id, row_number)
  ) WITHOUT ROWID;
  CREATE TABLE IF NOT EXISTS ledger (
    entry INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, record_id TEXT NOT NULL, batch INTEGER NOT NULL,
    deleted INTEGER NOT NULL, rows_remain INTEGER NOT NULL, worker TEXT NOT NULL, applied_at INTEGER NOT NULL,
    repeats INTEGER NOT NULL DEFAULT 0
  );
  CREATE INDEX IF NOT EXISTS ledger_by_record ON ledger (record_id, batch);
`;

/**
 * Opens the row store in a SQLite file, which is made, with its folder, if it is missing. Processes of one machine
 * may share it.
 *
 * @param path the database file
 * @param worker the name entered in the ledger with each batch
 * @param busyTimeoutMs how long to wait for another process's transaction; the wait blocks this process
 * @throws {RecordStoreError}
 */
export const openRecords = (
  path: string,
  { worker, busyTimeoutMs = 100 }: { worker: string; busyTimeoutMs?: number },
): RecordStore => {
  /** Runs `work`, with whatever it throws made a RecordStoreError. */
  const guard = <T>(work: () => T): T => {
    try {
      return work();
    } catch (thrown) {
      if (thrown instanceof RecordStoreError) throw thrown;
      throw new RecordStoreError("STORE_FAILED", `row store ${path}: ${toError(thrown).message}`, {
        cause: thrown,
      });
    }
  };

  const db = guard(() => {
    mkdirSync(dirname(path), { recursive: true });
    const opened = new DatabaseSync(path, { timeout: busyTimeoutMs });
    opened.exec(`PRAGMA journal_mode = WAL; ${SCHEMA}`);
    return opened;
  });
  const inode = statSync(path).ino;

  const transaction = <T>(work: () => T): T =>
    guard(() => {
      db.exec("BEGIN IMMEDIATE");
      try {
        const result = work();
        db.exec("COMMIT");
        return result;
      } catch (error) {
        if (db.isTransaction) db.exec("ROLLBACK");
        throw error;
      }
    });

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

  return {
    async deleteBatch({ key, recordId, batch, size }) {
      assertSameFile();
      return transaction(() => {
        const entry = findEntry.get(key);
        if (entry) {
          return {
            deleted: Number(entry.deleted),
            rowsRemain: entry.rows_remain === 1,
            repeated: true,
          };
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
      });
    },
    addRows: (rowsByRecord) =>
      transaction(() => {
        for (const [recordId, rows] of rowsByRecord) {
          if (findRow.get(recordId)) continue;
          for (let row = 0; row < rows; row++) addRow.run(recordId, row);
        }
      }),
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
    [Symbol.dispose]: () => {
      if (db.isOpen) db.close();
    },
  };
};
