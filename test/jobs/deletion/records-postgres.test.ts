import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { chownSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import { after, suite, type TestContext, test } from "node:test";
import { setTimeout } from "node:timers/promises";
import { inspect } from "node:util";
import { openRecords } from "../../../src/jobs/deletion/open-records.ts";
import type { BatchRequest, RecordStore } from "../../../src/jobs/deletion/records.ts";
import { OutageError, toError } from "../../../src/support/errors.ts";
import { type Postgres, skipPostgres, startPostgres } from "../../helpers/postgres.ts";
import { batchOf, failsWith, testContract } from "./records-contract.ts";

const open = async (
  t: TestContext,
  url: string,
  { worker = "worker-1", lockWaitMs = 20_000 } = {},
): Promise<RecordStore> => {
  const records = await openRecords(url, { worker, lockWaitMs });
  t.after(() => records[Symbol.asyncDispose]());
  return records;
};

/** The server's password stands nowhere in an error, however closely it is looked at. */
const assertNoPassword = (error: unknown, { password }: Postgres) => {
  const seen = inspect(error, { depth: 20, showHidden: true });
  for (const form of [password, encodeURIComponent(password)]) {
    assert.ok(!seen.includes(form), "the password is shown");
  }
};

const isOutage =
  (server: Postgres, text = /./) =>
  (error: unknown): true => {
    assert.ok(error instanceof OutageError, `expected an OutageError, got ${error}`);
    assert.match(error.message, text);
    assert.match(error.message, /^row store postgres:\/\/127\.0\.0\.1:\d+\/records_\w+: /);
    assertNoPassword(error, server);
    return true;
  };

/** Asks until there is an answer, as the step runner does, and says how often the server was away. */
const insist = async (records: RecordStore, request: BatchRequest) => {
  for (let outages = 0; ; outages++) {
    assert.ok(outages < 600, "expected an answer in the end");
    try {
      return { ...(await records.deleteBatch(request)), outages };
    } catch (error) {
      assert.ok(error instanceof OutageError, toError(error).message);
      await setTimeout(50);
    }
  }
};

/** Backends of the store in a database. */
const backends = async (server: Postgres, url: string, where = "true"): Promise<number[]> => {
  const rows = await server.query<{ pid: number }>(
    url,
    `SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND usename = datname AND ${where}`,
  );
  return rows.map(({ pid }) => pid);
};

const untilWaiting = async (server: Postgres, url: string, count: number): Promise<number[]> => {
  for (let tries = 0; tries < 500; tries++) {
    const waiting = await backends(server, url, "wait_event_type = 'Lock'");
    if (waiting.length >= count) return waiting;
    await setTimeout(20);
  }
  return assert.fail(`expected ${count} sessions to wait for a lock`);
};

const terminate = (server: Postgres, url: string, pids: readonly number[]) =>
  server.query(url, `SELECT pg_terminate_backend(pid, 5000) FROM unnest(ARRAY[${pids}]::integer[]) AS pid`);

const HOLD = "SELECT FROM deletion.rows WHERE record_id = 'r' AND row_number = 0 FOR UPDATE";
const nameOf = (url: string): string => new URL(url).pathname.slice(1);

const first = { deleted: 10, rowsRemain: true, repeated: false };

const testFaults = (server: Postgres) => {
  const openSeeded = async (t: TestContext, options?: { lockWaitMs: number }) => {
    const url = await server.createDatabase();
    const records = await open(t, url, options);
    await records.addRows(new Map([["r", 25]]));
    return { url, records };
  };

  test("a connection ended in a transaction: nothing was deleted, and a retry deletes it once", async (t) => {
    const { url, records } = await openSeeded(t);
    const other = await server.session(t, url);
    await other.query(`BEGIN; ${HOLD}`);
    const batch = records.deleteBatch(batchOf(0));
    const cut = assert.rejects(batch, isOutage(server, /terminating connection|Connection terminated/));
    await terminate(server, url, await untilWaiting(server, url, 1));
    await cut;
    await other.query("ROLLBACK");
    assert.deepEqual(await records.ledger(), []);
    assert.equal(await records.countRows(), 25);
    assert.deepEqual(await records.deleteBatch(batchOf(0)), first);
  });

  test("connections ended between transactions: the next batch takes a fresh one", async (t) => {
    const { url, records } = await openSeeded(t);
    for (const batch of [0, 1, 2]) {
      const idle = await backends(server, url, "state = 'idle'");
      assert.ok(idle.length > 0, "a connection is kept");
      await terminate(server, url, idle);
      assert.equal((await insist(records, batchOf(batch))).repeated, false);
    }
    assert.deepEqual(
      (await records.ledger()).map(({ deleted, repeats }) => [deleted, repeats]),
      [
        [10, 0],
        [10, 0],
        [5, 0],
      ],
    );
  });

  test("one key in two sessions: the second waits for the first, and takes over when that one ends", async (t) => {
    const { url, records } = await openSeeded(t);
    const second = await open(t, url, { worker: "worker-2" });
    const other = await server.session(t, url);
    await other.query(`BEGIN; ${HOLD}`);
    const cut = assert.rejects(records.deleteBatch(batchOf(0)), isOutage(server));
    const [pid = 0] = await untilWaiting(server, url, 1);
    const answer = second.deleteBatch(batchOf(0));
    await untilWaiting(server, url, 2);
    await terminate(server, url, [pid]);
    await cut;
    await other.query("ROLLBACK");
    assert.deepEqual(await answer, first);
    assert.deepEqual(await records.deleteBatch(batchOf(0)), { ...first, repeated: true });
    assert.equal(await records.countRows(), 15);
  });

  test("rows that another session holds are waited for, and 'none remain' is not said of them", async (t) => {
    const url = await server.createDatabase();
    const records = await open(t, url, { lockWaitMs: 200 });
    await records.addRows(new Map(Object.entries({ r: 10, s: 15 })));
    const other = await server.session(t, url);
    await other.query("BEGIN; DELETE FROM deletion.rows WHERE record_id = 'r' OR row_number >= 10");
    const locked = failsWith("STORE_FAILED", /lock timeout/);
    await assert.rejects(records.deleteBatch(batchOf(0)), locked, "they may come back");
    assert.deepEqual(await records.deleteBatch(batchOf(0, "s")), first, "rows that may come back remain");
    await other.query("ROLLBACK");
    assert.deepEqual(await records.deleteBatch(batchOf(0)), { ...first, rowsRemain: false });
    assert.deepEqual(await records.deleteBatch(batchOf(1, "s")), { ...first, deleted: 5, rowsRemain: false });
  });

  test("rows that another session deletes meanwhile are not counted as this batch's", async (t) => {
    const { url, records } = await openSeeded(t);
    const other = await server.session(t, url);
    await other.query("BEGIN; DELETE FROM deletion.rows WHERE record_id = 'r' AND row_number < 8");
    const batch = records.deleteBatch(batchOf(0));
    await untilWaiting(server, url, 1);
    await other.query("COMMIT");
    assert.deepEqual(await batch, first, "the next ten went instead");
    assert.deepEqual(await records.deleteBatch(batchOf(1)), { ...first, deleted: 7, rowsRemain: false });
  });

  test("a deadlock fails the batch whole, and a retry works", async (t) => {
    const { url, records } = await openSeeded(t);
    const other = await server.session(t, url);
    // The store's session is to find the deadlock, and be its victim.
    await other.query(`SET deadlock_timeout = '1h'; BEGIN; ${HOLD}`);
    const victim = assert.rejects(records.deleteBatch(batchOf(0)), failsWith("STORE_FAILED", /deadlock/));
    await untilWaiting(server, url, 1);
    const { key } = batchOf(0);
    await other.query(
      `INSERT INTO deletion.ledger (key, record_id, batch, deleted, rows_remain, worker, applied_at)
       VALUES ('${key}', 'r', 0, 0, true, 'other', 0)`,
    );
    await victim;
    await other.query("ROLLBACK");
    assert.deepEqual(await records.deleteBatch(batchOf(0)), first);
  });

  test("more batches than connections: they wait, those for too long fail, and none is doubled", async (t) => {
    const url = await server.createDatabase();
    const records = await open(t, url);
    const ids = Array.from({ length: 14 }, (_, i) => `r-${i}`);
    await records.addRows(new Map(ids.map((id) => [id, 10])));
    const other = await server.session(t, url);
    await other.query("BEGIN; SELECT FROM deletion.rows FOR UPDATE");
    const batches = ids.map((id) => records.deleteBatch(batchOf(0, id)));
    const left = batches
      .slice(10)
      .map((batch) => assert.rejects(batch, isOutage(server, /timeout exceeded/)));
    await Promise.all(left);
    await other.query("ROLLBACK");
    for (const { deleted } of await Promise.all(batches.slice(0, 10))) assert.equal(deleted, 10);
    for (const id of ids) assert.equal((await records.deleteBatch(batchOf(0, id))).deleted, 10);
    assert.equal((await records.ledger()).length, ids.length);
    assert.equal(await records.countRows(), 0);
  });

  test("a standby after a failover is an outage, until the connections lead to the new primary", async (t) => {
    const { url, records } = await openSeeded(t);
    await server.query(url, `ALTER ROLE ${nameOf(url)} SET default_transaction_read_only = on`);
    await terminate(server, url, await backends(server, url));
    const readOnly = isOutage(server, /read-only transaction|terminat/);
    for (let i = 0; i < 3; i++) await assert.rejects(records.deleteBatch(batchOf(0)), readOnly);
    assert.equal(
      await (await open(t, url)).countRows(),
      25,
      "nothing is written to open one that is up to date",
    );
    await server.query(url, `ALTER ROLE ${nameOf(url)} RESET default_transaction_read_only`);
    assert.deepEqual(await records.deleteBatch(batchOf(0)), first);
  });

  test("a server that is silent is an outage within bounds", async (t) => {
    const { url, records } = await openSeeded(t);
    const other = await server.session(t, url);
    await other.query(`BEGIN; ${HOLD}`);
    const silent = assert.rejects(records.deleteBatch(batchOf(0)), isOutage(server, /timeout/));
    const [pid = 0] = await untilWaiting(server, url, 1);
    process.kill(pid, "SIGSTOP");
    try {
      await silent;
    } finally {
      process.kill(pid, "SIGCONT");
    }
    await other.query("ROLLBACK");
    const { deleted } = await insist(records, batchOf(0));
    assert.equal(deleted, 10);
    assert.equal(await records.countRows(), 15);
  });

  test("a full disk fails the batch whole, and a retry works once there is room", async (t) => {
    const place = join(server.folder, "small");
    mkdirSync(place);
    try {
      execFileSync("mount", ["-t", "tmpfs", "-o", "size=1m", "tmpfs", place], { stdio: "pipe" });
    } catch {
      return t.skip("needs the right to mount a small tmpfs");
    }
    after(() => execFileSync("umount", ["-l", place]));
    if (server.user) chownSync(place, server.user.uid, server.user.gid);
    const { url, records } = await openSeeded(t);
    await server.query(url, `CREATE TABLESPACE small LOCATION '${place}'`);
    await server.query(url, "ALTER TABLE deletion.ledger SET TABLESPACE small");
    const fill =
      "CREATE TABLE filler TABLESPACE small AS SELECT 1 AS n; INSERT INTO filler SELECT generate_series(1, 1000)";
    await server.query(url, fill);
    const more = "INSERT INTO filler SELECT n FROM filler";
    await assert.rejects(async () => {
      for (let i = 0; i < 30; i++) await server.query(url, more);
    }, /No space left on device/);
    await server.query(url, "INSERT INTO filler SELECT 1 FROM generate_series(1, 200)").catch(() => {});

    const full = failsWith("STORE_FAILED", /No space left on device/);
    for (let i = 0; i < 2; i++) await assert.rejects(records.deleteBatch(batchOf(0)), full);
    assert.equal(await records.countRows(), 25);
    assert.deepEqual(await records.ledger(), []);
    await server.query(url, "DROP TABLE filler");
    assert.deepEqual(await records.deleteBatch(batchOf(0)), first);
  });

  test("a schema of a newer release is refused and left as it is", async (t) => {
    const { url, records } = await openSeeded(t);
    await server.query(url, "INSERT INTO deletion.migrations (version) VALUES (2)");
    const newer = failsWith("STORE_VERSION", /expected schema version 1, got version 2/);
    await assert.rejects(open(t, url), newer);
    assert.equal(await records.countRows(), 25);
  });

  test("what the server refuses at the start is told, and no outage", async (t) => {
    const url = await server.createDatabase();
    const wrong = new URL(url);
    wrong.password = "wr0ng";
    await assert.rejects(open(t, wrong.href), (error) => {
      assert.ok(!inspect(error, { depth: 20, showHidden: true }).includes("wr0ng"));
      return failsWith("STORE_FAILED", /password authentication failed for user "records_/)(error);
    });
    const missing = new URL(url);
    missing.pathname = "/missing";
    await assert.rejects(open(t, missing.href), failsWith("STORE_FAILED", /"missing" does not exist/));
    await server.query(url, `ALTER DATABASE ${nameOf(url)} OWNER TO postgres`);
    await assert.rejects(open(t, url), (error) => {
      assertNoPassword(error, server);
      return failsWith("STORE_FAILED", /permission denied for database/)(error);
    });
  });

  test("a password changed in the middle of work is an outage with that line", async (t) => {
    const { url, records } = await openSeeded(t);
    await server.query(url, `ALTER ROLE ${nameOf(url)} PASSWORD 'another'`);
    await terminate(server, url, await backends(server, url));
    const refused = isOutage(server, /password authentication failed|terminat/);
    for (let i = 0; i < 2; i++) await assert.rejects(records.deleteBatch(batchOf(0)), refused);
    await server.query(url, `ALTER ROLE ${nameOf(url)} PASSWORD '${server.password}'`);
    assert.deepEqual(await records.deleteBatch(batchOf(0)), first);
  });

  test("no connection left at the server is an outage", async (t) => {
    const { url, records } = await openSeeded(t);
    await terminate(server, url, await backends(server, url));
    await server.query(url, `ALTER ROLE ${nameOf(url)} CONNECTION LIMIT 0`);
    const full = isOutage(server, /too many connections|terminat/);
    for (let i = 0; i < 2; i++) await assert.rejects(records.deleteBatch(batchOf(0)), full);
    await assert.rejects(open(t, url), full);
    await server.query(url, `ALTER ROLE ${nameOf(url)} CONNECTION LIMIT -1`);
    assert.deepEqual(await records.deleteBatch(batchOf(0)), first);
  });

  test("a server that crashes and comes back under load: every row goes once", async (t) => {
    const own = await startPostgres(t);
    const url = await own.createDatabase();
    const records = await open(t, url);
    const ids = Array.from({ length: 60 }, (_, i) => `r-${i}`);
    await records.addRows(new Map(ids.map((id) => [id, 120])));
    let outages = 0;
    const finish = async (id: string) => {
      for (let batch = 0; ; batch++) {
        const answer = await insist(records, batchOf(batch, id));
        outages += answer.outages;
        if (!answer.rowsRemain) return;
      }
    };
    const work = Promise.all(ids.map(finish));
    for (const how of ["immediate", "fast"] as const) {
      const before = (await records.ledger()).length;
      while ((await records.ledger()).length < before + 50) await setTimeout(5);
      await own.stop(how);
      await assert.rejects(open(t, url), isOutage(own));
      await own.start();
    }
    await work;
    assert.ok(outages > 0, "it was away in the middle");
    const ledger = await records.ledger();
    assert.equal(await records.countRows(), 0);
    assert.equal(ledger.length, ids.length * 12);
    assert.ok(ledger.every(({ deleted }) => deleted === 10));
  });
};

if (skipPostgres) {
  test("the row store in Postgres", { skip: skipPostgres });
} else {
  const server = await startPostgres({ after });
  testContract({
    makeStore: async (t) => {
      const url = await server.createDatabase();
      return (options) => open(t, url, options);
    },
  });
  suite("faults", { concurrency: 3 }, () => testFaults(server));
}
