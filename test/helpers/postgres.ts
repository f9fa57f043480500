import assert from "node:assert/strict";
import { execFile, execFileSync, spawn } from "node:child_process";
import { randomBytes, randomUUID } from "node:crypto";
import { once } from "node:events";
import { accessSync, chownSync, constants, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { createInterface } from "node:readline";
import type { TestContext } from "node:test";
import { promisify } from "node:util";
import { Client, type QueryResultRow } from "pg";
import { withTimeout } from "../../src/support/retry.ts";
import { findFreePort } from "./free-port.ts";

const run = promisify(execFile);
const START_TIMEOUT_MS = 60_000;
const STOP_TIMEOUT_MS = 20_000;
const DEBIAN = "/usr/lib/postgresql";

const isExecutable = (path: string): boolean => {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
};

const debianVersions = (): string[] => {
  try {
    return readdirSync(DEBIAN).sort((a, b) => Number(b) - Number(a));
  } catch {
    return [];
  }
};

/** The folder of Postgres' programs: POSTGRES_BIN, Debian's newest, or one of PATH. */
const bin = [
  process.env.POSTGRES_BIN ?? "",
  ...debianVersions().map((version) => join(DEBIAN, version, "bin")),
  ...(process.env.PATH ?? "").split(delimiter),
].find(
  (folder) => folder !== "" && isExecutable(join(folder, "initdb")) && isExecutable(join(folder, "postgres")),
);

/** Why tests on Postgres are skipped, or `false` where they can run. */
export const skipPostgres: string | false =
  bin === undefined &&
  "needs the programs of Postgres: run .ci/postgres, or set POSTGRES_BIN to their folder";

/** Postgres does not run as root: another user's ids, where this process is root. */
const findUser = (): { uid: number; gid: number } | undefined => {
  if (process.getuid?.() !== 0) return;
  for (const user of ["postgres", "nobody"]) {
    try {
      const id = (option: string) => Number(execFileSync("id", [option, user], { stdio: "pipe" }));
      return { uid: id("-u"), gid: id("-g") };
    } catch {}
  }
  throw new Error("expected a user postgres or nobody to run Postgres as, got none");
};

/** A real Postgres of a test, and its superuser's hand on it. */
export interface Postgres {
  readonly folder: string;
  /** The ids its processes run as, where that is another user. */
  readonly user: { uid: number; gid: number } | undefined;
  readonly port: number;
  /** The password of every role, which must appear nowhere. */
  readonly password: string;
  /** Makes a database and its owner, a role of the same name, and gives the owner's URL. */
  createDatabase(): Promise<string>;
  /** Runs SQL as the superuser in the database of `url`, on a connection of its own. */
  query<Row extends QueryResultRow>(url: string, sql: string): Promise<Row[]>;
  /** A superuser's session in the database of `url`, closed when the test ends. */
  session(t: TestContext, url: string): Promise<Client>;
  /** `immediate` is a crash of the server: nothing is closed or written. */
  stop(how?: "fast" | "immediate"): Promise<void>;
  start(): Promise<void>;
}

/**
 * Starts a Postgres with a data folder of its own, as another user where this one is root. All of it is gone when the
 * test ends.
 *
 * @param settings lines of postgresql.conf by name
 */
export const startPostgres = async (
  t: { after(release: () => Promise<void> | void): void },
  settings: Readonly<Record<string, string>> = {},
): Promise<Postgres> => {
  assert.ok(bin !== undefined, "expected the programs of Postgres");
  const programs = bin;
  const user = findUser();
  const folder = mkdtempSync(join(tmpdir(), "postgres-"));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  if (user) chownSync(folder, user.uid, user.gid);
  const data = join(folder, "data");
  // Characters that a URL must escape.
  const password = `p@:/?#%${randomBytes(12).toString("hex")}`;
  const passwordFile = join(folder, "password");
  writeFileSync(passwordFile, password);
  if (user) chownSync(passwordFile, user.uid, user.gid);
  const as = { cwd: folder, env: { PATH: process.env.PATH, LC_ALL: "C" }, ...user };

  await run(
    join(programs, "initdb"),
    [
      "-D",
      data,
      "-U",
      "postgres",
      "-A",
      "scram-sha-256",
      "--pwfile",
      passwordFile,
      "-E",
      "UTF8",
      "--no-sync",
    ],
    { ...as, timeout: START_TIMEOUT_MS },
  );
  const port = await findFreePort();
  const options = Object.entries({
    listen_addresses: "127.0.0.1",
    port: String(port),
    unix_socket_directories: "",
    // No machine loses power here.
    fsync: "off",
    ...settings,
  }).flatMap(([name, value]) => ["-c", `${name}=${value}`]);

  let server: { stop(how: "fast" | "immediate"): Promise<void> } | undefined;
  const start = async () => {
    const child = spawn(join(programs, "postgres"), ["-D", data, ...options], {
      ...as,
      stdio: ["ignore", "ignore", "pipe"],
    });
    const exited = once(child, "exit");
    const lines: string[] = [];
    const ready = Promise.withResolvers<void>();
    createInterface({ input: child.stderr }).on("line", (line) => {
      lines.push(line);
      if (line.includes("database system is ready to accept connections")) ready.resolve();
    });
    const died = exited.then(() => {
      throw new Error(`expected Postgres to start, got: ${lines.slice(-5).join(" | ")}`);
    });
    server = {
      stop: async (how) => {
        child.kill(how === "fast" ? "SIGINT" : "SIGQUIT");
        await withTimeout(exited, STOP_TIMEOUT_MS, "Postgres to stop").catch(() => child.kill("SIGKILL"));
      },
    };
    await withTimeout(Promise.race([ready.promise, died]), START_TIMEOUT_MS, "Postgres to start");
    // From now on its end is meant.
    died.catch(() => {});
  };
  const stop = async (how: "fast" | "immediate" = "fast") => {
    const running = server;
    server = undefined;
    await running?.stop(how);
  };
  t.after(() => stop("immediate"));

  const urlOf = (name: string, database: string) =>
    `postgres://${name}:${encodeURIComponent(password)}@127.0.0.1:${port}/${database}`;
  const connect = async (url: string) => {
    const client = new Client({ connectionString: urlOf("postgres", new URL(url).pathname.slice(1)) });
    client.on("error", () => {});
    await client.connect();
    return client;
  };
  const query = async <Row extends QueryResultRow>(url: string, sql: string): Promise<Row[]> => {
    const client = await connect(url);
    try {
      return (await client.query<Row>(sql)).rows;
    } finally {
      await client.end();
    }
  };
  await start();
  const home = urlOf("postgres", "postgres");
  return {
    folder,
    user,
    port,
    password,
    createDatabase: async () => {
      const name = `records_${randomUUID().replaceAll("-", "")}`;
      await query(home, `CREATE ROLE ${name} LOGIN PASSWORD '${password}'`);
      await query(home, `CREATE DATABASE ${name} OWNER ${name}`);
      return urlOf(name, name);
    },
    query,
    session: async (own, url) => {
      const client = await connect(url);
      own.after(() => client.end().catch(() => {}));
      return client;
    },
    stop,
    start,
  };
};
