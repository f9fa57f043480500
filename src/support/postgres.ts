import type { Pool, PoolConfig } from "pg";
import { toError } from "./errors.ts";
import { SettingsError } from "./settings.ts";

/** SQLSTATEs of a server that is away, stopping, starting, out of connections, or a standby after a failover. */
const AWAY = /^(08|57P|53300|25006)/;
/** SQLSTATEs of a refused login. */
const REFUSED = /^28/;
/** Codes of a network that does not carry. */
const UNREACHABLE = /^(ECONN|ENOTFOUND|EAI_AGAIN|EPIPE|ETIMEDOUT|EHOST|ENET)/;
/** Errors of pg's own about a connection, which have no code. */
const DISCONNECTED = /terminated|timeout|not queryable/i;

/** Whether text is the URL of a database of Postgres. */
export const isPostgres = (text: string): boolean => /^postgres(ql)?:\/\//i.test(text);

/** What is expected of such a URL, in words. */
export const POSTGRES_URL =
  "a postgres:// URL in whose password '@', '/', '?' and '#' are written as '%40', '%2F', '%3F' and '%23'";

/** Such a URL, if it is one. A password cut short by a '/' would be taken for a host, and shown. */
export const parsePostgres = (text: string): string | undefined => {
  const url = URL.parse(text);
  return url && isPostgres(text) && !`${url.pathname}${url.search}${url.hash}`.includes("@")
    ? text
    : undefined;
};

/** The URL of a server without user name, password and parameters: what logs and errors show. */
export const placeOf = (url: string): string => {
  const { protocol, host, pathname } = new URL(url);
  return `${protocol}//${host}${isPostgres(url) ? pathname : ""}`;
};

/** What an error of pg says. That of several addresses that refuse has no message. */
export const reasonOf = (error: Error): string =>
  error.message || ("code" in error ? String(error.code) : error.name);

/** The SQLSTATE of an error, when it is the server's word. */
export const sqlState = (error: unknown): string | undefined =>
  error instanceof Error && "severity" in error && "code" in error ? String(error.code) : undefined;

/** Whether an error of pg says that the server is away, or the way to it. */
export const isAway = (error: Error): boolean => {
  const state = sqlState(error);
  if (state !== undefined) return AWAY.test(state);
  return UNREACHABLE.test("code" in error ? String(error.code) : "") || DISCONNECTED.test(error.message);
};

/** Whether an error of pg says that the server refuses the user or the password. */
export const isRefusedLogin = (error: Error): boolean => REFUSED.test(sqlState(error) ?? "");

const loadPg = async (setting: string) => {
  try {
    return await import("pg");
  } catch (cause) {
    throw new SettingsError([
      `${setting}: expected the package pg, which a postgres:// URL needs, got ${toError(cause).message}; run: npm install pg`,
    ]);
  }
};

/**
 * Opens a pool of connections, none of which is made yet. The package `pg` is loaded here and nowhere else.
 *
 * @param setting the name of the setting that holds the URL
 * @throws {SettingsError} the package `pg` is missing
 */
export const openPool = async (setting: string, url: string, config: PoolConfig): Promise<Pool> => {
  const pg = await loadPg(setting);
  const pool = new pg.Pool({ connectionString: url, keepAlive: true, ...config });
  // A connection that dies fails its query; one that dies idle is replaced. Unheard, either would end the process.
  pool.on("error", () => {});
  pool.on("connect", (client) => client.on("error", () => {}));
  return pool;
};
