import type { QueryResultRow } from "pg";
import { OutageError, toError } from "../../../support/errors.ts";
import { isAway, isRefusedLogin, openPool, placeOf, reasonOf } from "../../../support/postgres.ts";
import { doneWithin } from "../../../support/retry.ts";
import {
  type Batch,
  type LedgerEntry,
  type RecordStore,
  RecordStoreError,
  type StoreOptions,
} from "../records.ts";
import { migrate } from "./postgres-schema.ts";

const CONNECTIONS = 10;
const CONNECT_TIMEOUT_MS = 5000;
const STATEMENT_TIMEOUT_MS = 10_000;
/** For a host that went silent: the server's own timeout comes first where there is a server. */
const ANSWER_TIMEOUT_MS = STATEMENT_TIMEOUT_MS + 5000;
const CLOSE_TIMEOUT_MS = 2000;

/**
 * Opens the row store in a Postgres database, in the schema `deletion`.
 *
 * @throws {RecordStoreError} the server refuses (password, database, rights), or the schema is a newer release's
 * @throws {OutageError} the server is away
 * @throws {SettingsError} the package `pg` is missing
 */
export const openPostgres = async (
  url: string,
  { worker, lockWaitMs }: StoreOptions,
): Promise<RecordStore> => {
  // Without user name and password: this is what errors show.
  const store = `row store ${placeOf(url)}`;
  const pool = await openPool("RECORDS_DB", url, {
    max: CONNECTIONS,
    connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
    statement_timeout: STATEMENT_TIMEOUT_MS,
    lock_timeout: lockWaitMs,
    query_timeout: ANSWER_TIMEOUT_MS,
    idle_in_transaction_session_timeout: STATEMENT_TIMEOUT_MS,
    application_name: `deletion ${worker}`,
  });

  let opened = false;
  const guard = async <T>(work: () => Promise<T>): Promise<T> => {
    try {
      return await work();
    } catch (thrown) {
      if (thrown instanceof RecordStoreError) throw thrown;
      const cause: Error & { code?: string | undefined } = toError(thrown);
      const message = `${store}: ${reasonOf(cause)}`;
      if (isAway(cause) || (opened && isRefusedLogin(cause))) throw new OutageError(message, { cause });
      const isReplaced = cause.code === "DL001";
      throw new RecordStoreError(isReplaced ? "STORE_REPLACED" : "STORE_FAILED", message, { cause });
    }
  };
  const query = <Row extends QueryResultRow>(sql: string, values: unknown[] = []): Promise<Row[]> =>
    guard(async () => (await pool.query<Row>(sql, values)).rows);
  const close = async () => {
    if (!pool.ending) await doneWithin(pool.end(), CLOSE_TIMEOUT_MS);
  };

  try {
    await guard(async () => {
      const client = await pool.connect();
      try {
        await migrate(client, store);
      } finally {
        // With its transaction, if that is not over.
        client.release(true);
      }
    });
  } catch (error) {
    await close();
    throw error;
  }
  opened = true;

  return {
    deleteBatch: async ({ key, recordId, batch, size }) => {
      const [answer] = await query<Batch>(
        `SELECT deleted, rows_remain AS "rowsRemain", repeated FROM deletion.delete_batch($1, $2, $3, $4, $5, $6)`,
        [key, recordId, batch, size, worker, Date.now()],
      );
      if (!answer) throw new RecordStoreError("STORE_FAILED", `${store}: expected an answer, got none`);
      return answer;
    },
    addRows: async (rowsByRecord) => {
      await query(
        `INSERT INTO deletion.rows (record_id, row_number)
         SELECT id, n FROM unnest($1::text[], $2::integer[]) AS record (id, size), generate_series(0, size - 1) AS n
         WHERE NOT EXISTS (SELECT FROM deletion.rows WHERE record_id = id)`,
        [[...rowsByRecord.keys()], [...rowsByRecord.values()]],
      );
    },
    countRows: async () => {
      const [count] = await query<{ n: number }>("SELECT count(*)::float8 AS n FROM deletion.rows");
      return count?.n ?? 0;
    },
    ledger: () =>
      query<LedgerEntry>(
        `SELECT key, record_id AS "recordId", batch, deleted, worker, applied_at::float8 AS "appliedAt", repeats
         FROM deletion.ledger ORDER BY entry`,
      ),
    [Symbol.asyncDispose]: close,
  };
};
