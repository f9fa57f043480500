import type { Pool } from "pg";
import { AccessError } from "../../support/access-error.ts";
import { toError } from "../../support/errors.ts";
import { isAway, isRefusedLogin, openPool, placeOf, reasonOf, sqlState } from "../../support/postgres.ts";
import { toAccessError } from "../access.ts";

/** Runs a statement, which is prepared once on each connection. @throws {AccessError} what a setting may mend */
export type Query = <Row extends object>(
  statement: { readonly name: string; readonly text: string },
  values?: readonly unknown[],
) => Promise<Row[]>;

const CONNECT_TIMEOUT_MS = 5000;
const STATEMENT_TIMEOUT_MS = 10_000;
/**
 * Below Postgres' own `deadlock_timeout` of a second, after which it would end one of two statements that wait for each
 * other: a request that waits for so long leaves its place and runs alone again.
 */
const LOCK_TIMEOUT_MS = 500;
/** Two for requests, and others so that a heartbeat or a look for messages never waits for one. */
const CONNECTIONS = 5;

/** The version of the schema that the statements here were written for, without its last number. */
const SCHEMA_VERSION = "0.1";

const open = (url: string, timeoutMs: number): Promise<Pool> =>
  openPool("RESONATE_URL", url, {
    max: CONNECTIONS,
    connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
    statement_timeout: timeoutMs,
    // For a host that went silent: the server's own timeout comes first where there is a server.
    query_timeout: timeoutMs + 2000,
    lock_timeout: LOCK_TIMEOUT_MS,
    application_name: "resonate worker",
  });

/** An error of pg as the setting that is wrong, if one is; otherwise the error, without the URL's password. */
const explain = (url: string, thrown: unknown): unknown => {
  const error = toError(thrown);
  if (isAway(error)) return error;
  const refused = (expected: string) =>
    new AccessError(`RESONATE_URL: expected ${expected} ${placeOf(url)}, got: ${reasonOf(error)}`);
  if (isRefusedLogin(error)) return refused("a user and password that may log in to");
  switch (sqlState(error)) {
    case "3D000":
      return refused("the name of a database that is there, as in");
    case "3F000":
    case "42P01":
    case "42883":
      return refused("the schema of resonatehq/resonate-pg (resonate.sql) in");
    case "42501":
      return refused("the user that owns the schema resonate in");
    default:
      return toAccessError(thrown);
  }
};

/** A database with executions. */
export interface Database {
  readonly query: Query;
  close(): Promise<void>;
}

/** Connects when the first statement comes. A statement may take `timeoutMs` milliseconds. */
export const openDatabase = (url: string, timeoutMs = STATEMENT_TIMEOUT_MS): Database => {
  let opening: Promise<Pool> | undefined;
  return {
    query: async (statement, values = []) => {
      opening ??= open(url, timeoutMs);
      try {
        const pool = await opening;
        const { rows } = await pool.query({ ...statement, values: [...values] });
        return rows;
      } catch (error) {
        throw explain(url, error);
      }
    },
    close: async () => {
      const pool = await opening;
      if (pool && !pool.ending) await pool.end();
    },
  };
};

/**
 * Asks whether the database is there, with the schema, and lets this user in.
 *
 * @throws {AccessError} when it refuses the user, or lacks the schema
 * @throws {SettingsError} when the package pg is missing
 * @throws when it cannot be reached
 */
export const pingPostgres = async (url: string): Promise<void> => {
  const { query, close } = openDatabase(url);
  try {
    const [found] = await query<{ version: string; owns: boolean }>({
      name: "ping",
      text: `SELECT resonate.get_schema_version() AS version, pg_has_role(nspowner, 'USAGE') AS owns
             FROM pg_namespace WHERE nspname = 'resonate'`,
    });
    if (!found?.owns) {
      throw new AccessError(
        `RESONATE_URL: expected the user that owns the schema resonate in ${placeOf(url)}, got another`,
      );
    }
    if (!found.version.startsWith(`${SCHEMA_VERSION}.`)) {
      throw new AccessError(
        `RESONATE_URL: expected version ${SCHEMA_VERSION} of the schema resonate in ${placeOf(url)}, got ${found.version}`,
      );
    }
  } finally {
    await close();
  }
};
