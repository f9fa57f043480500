import { isPostgres } from "../../support/postgres.ts";
import type { RecordStore, StoreOptions } from "./records.ts";

/**
 * Opens the row store and brings its schema up to date: a SQLite file, which is made if it is missing, or a Postgres
 * database. Any number of processes may share it.
 *
 * @param place the path of the file, or a postgres:// URL
 * @throws {RecordStoreError} also when the schema is a newer release's
 * @throws {OutageError} the server of Postgres is away
 * @throws {SettingsError} the package that Postgres needs is missing
 */
export const openRecords = async (
  place: string,
  { worker, lockWaitMs = 1000 }: { worker: string; lockWaitMs?: number },
): Promise<RecordStore> => {
  const options: StoreOptions = { worker, lockWaitMs };
  if (!isPostgres(place)) {
    const { openSqlite } = await import("./records/sqlite.ts");
    return openSqlite(place, options);
  }
  const { openPostgres } = await import("./records/postgres.ts");
  return openPostgres(place, options);
};
