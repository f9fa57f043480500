import type { PoolClient } from "pg";
import { RecordStoreError } from "../records.ts";

/** How long to wait for another session that migrates, in milliseconds. */
const LOCK_WAIT_MS = 10_000;
/** Any number that nothing else in the database locks. */
const MIGRATION_LOCK = 7_236_114_590;

/** Each brings the schema from one version to the next; never change one that was released. */
const MIGRATIONS = [
  `
CREATE SCHEMA IF NOT EXISTS deletion;

CREATE TABLE deletion.migrations (
  version integer PRIMARY KEY, applied_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE deletion.rows (
  record_id text COLLATE "C" NOT NULL, row_number integer NOT NULL, PRIMARY KEY (record_id, row_number)
);

CREATE TABLE deletion.ledger (
  entry bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, key text COLLATE "C" NOT NULL UNIQUE,
  record_id text COLLATE "C" NOT NULL, batch integer NOT NULL, deleted integer NOT NULL,
  rows_remain boolean NOT NULL, worker text NOT NULL, applied_at bigint NOT NULL,
  repeats integer NOT NULL DEFAULT 0
);
CREATE INDEX ledger_by_record ON deletion.ledger (record_id, batch);

-- One batch is one statement, so it is one transaction and one round trip.
CREATE FUNCTION deletion.delete_batch(
  _key text, _record_id text, _batch integer, _size integer, _worker text, _now bigint,
  OUT deleted integer, OUT rows_remain boolean, OUT repeated boolean
) LANGUAGE plpgsql AS $$
#variable_conflict use_column
BEGIN
  -- The ledger first: of two sessions with one key the second waits here until the first has ended.
  INSERT INTO deletion.ledger (key, record_id, batch, deleted, rows_remain, worker, applied_at)
  VALUES (_key, _record_id, _batch, 0, true, _worker, _now)
  ON CONFLICT (key) DO NOTHING;
  repeated := NOT FOUND;
  IF repeated THEN
    UPDATE deletion.ledger SET repeats = repeats + 1 WHERE key = _key
    RETURNING ledger.deleted, ledger.rows_remain INTO delete_batch.deleted, delete_batch.rows_remain;
    RETURN;
  END IF;

  IF (SELECT count(*) FROM deletion.ledger WHERE record_id = _record_id AND batch < _batch) < _batch THEN
    RAISE EXCEPTION USING ERRCODE = 'DL001', MESSAGE = format(
      'expected the %s earlier batches of record %s in the ledger, got fewer: the database is not the one they were applied to',
      _batch, _record_id
    );
  END IF;

  -- Waits for rows that another session holds: skipped, they would be taken for gone.
  WITH held AS (
    SELECT row_number FROM deletion.rows WHERE record_id = _record_id ORDER BY row_number LIMIT _size FOR UPDATE
  )
  DELETE FROM deletion.rows USING held
  WHERE rows.record_id = _record_id AND rows.row_number = held.row_number;
  GET DIAGNOSTICS deleted = ROW_COUNT;

  -- Rows whose deletion is not committed elsewhere still count.
  rows_remain := EXISTS (SELECT FROM deletion.rows WHERE record_id = _record_id);
  UPDATE deletion.ledger SET deleted = delete_batch.deleted, rows_remain = delete_batch.rows_remain
  WHERE key = _key;
END $$;
`,
];

const versionOf = async (client: PoolClient): Promise<number> => {
  // Not to_regclass: it may answer from a cache that another session's migration has not reached.
  const { rowCount } = await client.query(
    "SELECT FROM pg_tables WHERE schemaname = 'deletion' AND tablename = 'migrations'",
  );
  if (rowCount === 0) return 0;
  const applied = await client.query<{ version: number }>(
    "SELECT coalesce(max(version), 0) AS version FROM deletion.migrations",
  );
  return applied.rows[0]?.version ?? 0;
};

/**
 * Brings the schema up to date, once, whoever comes first. Leaves its transaction open when it fails.
 *
 * @throws {RecordStoreError} the schema is a newer release's
 */
export const migrate = async (client: PoolClient, store: string): Promise<void> => {
  // Where there is nothing to do, no right to do it is needed.
  if ((await versionOf(client)) === MIGRATIONS.length) return;
  await client.query("BEGIN");
  await client.query(`SET LOCAL lock_timeout = ${LOCK_WAIT_MS}`);
  await client.query(`SELECT pg_advisory_xact_lock(${MIGRATION_LOCK})`);
  const version = await versionOf(client);
  if (version > MIGRATIONS.length) {
    throw new RecordStoreError(
      "STORE_VERSION",
      `${store}: expected schema version ${MIGRATIONS.length}, got version ${version}: use the release that made it, or another database`,
    );
  }
  for (const [index, migration] of MIGRATIONS.entries()) {
    if (index < version) continue;
    await client.query(migration);
    await client.query("INSERT INTO deletion.migrations (version) VALUES ($1)", [index + 1]);
  }
  await client.query("COMMIT");
};
