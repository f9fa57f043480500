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

/**
 * The row store: which rows of which record are left, and the ledger of the batches that removed the others. Every
 * method throws `RecordStoreError`; a store on another machine throws `OutageError` while that is away.
 */
export interface RecordStore extends AsyncDisposable {
  /**
   * Removes at most `size` rows of a record and enters the batch in the ledger, in one transaction. A key that is in
   * the ledger already gets its recorded answer. After an error nothing was removed, or a retry gets the answer.
   */
  deleteBatch(request: BatchRequest): Promise<Batch>;
  /** Adds rows, numbered from 0, for each record that has none; all or nothing. */
  addRows(rowsByRecord: ReadonlyMap<string, number>): Promise<void>;
  /** Rows left over all records. */
  countRows(): Promise<number>;
  /** All batches applied, in the order in which they were. */
  ledger(): Promise<LedgerEntry[]>;
}

export interface StoreOptions {
  /** The name entered in the ledger with each batch. */
  readonly worker: string;
  /** How long to wait for another session's lock, in milliseconds. */
  readonly lockWaitMs: number;
}

/**
 * `STORE_FAILED`: the database refused (locked, full, …); a retry can help.
 * `STORE_REPLACED`: this is not the store that was opened, or it lacks this record's earlier batches. Whether rows
 * remain cannot be known; a retry helps once the right one is back.
 * `STORE_VERSION`: the schema is not this release's; no retry helps.
 */
type RecordStoreCode = "STORE_FAILED" | "STORE_REPLACED" | "STORE_VERSION";

export class RecordStoreError extends Error {
  readonly code: RecordStoreCode;
  readonly canRetry: boolean;
  constructor(code: RecordStoreCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = "RecordStoreError";
    this.code = code;
    this.canRetry = code !== "STORE_VERSION";
  }
}
