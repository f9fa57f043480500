import assert from "node:assert/strict";
import { after, suite, type TestContext, test } from "node:test";
import { inspect } from "node:util";
import { isSuccess, type Request } from "@resonatehq/sdk";
import { ping } from "../../../src/resonate/open-transport.ts";
import { RefusedError } from "../../../src/resonate/refusals.ts";
import { requestHead } from "../../../src/resonate/request.ts";
import { openPostgres } from "../../../src/resonate/transports/postgres.ts";
import { findFinished } from "../../../src/resonate/transports/postgres-purge.ts";
import { AccessError } from "../../../src/support/access-error.ts";
import { createExecutions, skipExecutions } from "../../helpers/executions-postgres.ts";
import { type Postgres, startPostgres } from "../../helpers/postgres.ts";
import { accessTo, silent } from "../../helpers/unit-resonate.ts";
import { eventually } from "../../stack/contract.ts";
import { branchOf, connect, granted, promiseCreate, promiseSettle } from "../../stack/resonate-client.ts";
import { testContract } from "../../stack/resonate-contract.ts";

const never = new AbortController().signal;

const open = (t: TestContext, url: string) => {
  const { send, ...transport } = openPostgres({
    access: accessTo(url),
    group: "group",
    pid: "pid",
    logger: silent,
  });
  t.after(() => transport[Symbol.asyncDispose]());
  return send;
};

const get = (id: string): Extract<Request, { kind: "promise.get" }> => ({
  kind: "promise.get",
  head: requestHead(),
  data: { id },
});

const testRequests = (server: Postgres, url: string) => {
  test("statements with the same ids in any order wait for each other, and none is ended by a deadlock", async (t) => {
    const senders = [open(t, url), open(t, url), open(t, url)];
    const ids = Array.from({ length: 40 }, (_, i) => `order-${i}`);
    const answers = await Promise.all(
      senders.flatMap((send, turn) =>
        Array.from({ length: 5 }, () => (turn === 1 ? ids.toReversed() : ids)).flatMap((own) =>
          own.map((id) => send(promiseCreate(id))),
        ),
      ),
    );
    assert.equal(answers.length, 600);
    for (const answer of answers) granted(answer);
    const [stats] = await server.query<{ n: number }>(
      url,
      "SELECT deadlocks::integer AS n FROM pg_stat_database WHERE datname = current_database()",
    );
    assert.equal(stats?.n, 0);
  });

  test("a request that Postgres does not take is refused for good, and those beside it are answered", async (t) => {
    const send = open(t, url);
    const [before, bad, behind] = await Promise.allSettled(
      ["beside-1", "bad\u0000", "beside-2"].map((id) => send(promiseCreate(id))),
    );
    assert.deepEqual([before?.status, bad?.status, behind?.status], ["fulfilled", "rejected", "fulfilled"]);
    assert.ok(bad?.status === "rejected" && bad.reason instanceof RefusedError);
  });

  test("a lost connection fails what is under way, and the next request takes a fresh one", async (t) => {
    const send = open(t, url);
    granted(await send(promiseCreate("lost-1")));
    const other = await server.session(t, url);
    await other.query("BEGIN; SELECT pg_advisory_xact_lock(hashtextextended('lost-2', 0))");
    const waiting = assert.rejects(send(promiseCreate("lost-2")), /terminat/);
    const ended = await untilEnded(server, url);
    assert.ok(ended > 0);
    await waiting;
    await other.query("ROLLBACK");
    assert.equal((await send(get("lost-2"))).head.status, 404);
    granted(await send(promiseCreate("lost-2")));
  });

  test("a request that waits for a lock does not hold up those beside it, and is answered once it is free", async (t) => {
    const send = open(t, url);
    const other = await server.session(t, url);
    await other.query("BEGIN; SELECT pg_advisory_xact_lock(hashtextextended('locked', 0))");
    const held = send(promiseCreate("locked"));
    await Promise.all(["beside-3", "beside-4"].map(async (id) => granted(await send(promiseCreate(id)))));
    await other.query("ROLLBACK");
    granted(await held);
  });

  test("an execution that somebody holds a lock on keeps no lease of others from being renewed", async (t) => {
    const worker = await connect(t, url, "renewed");
    const ids = ["renewed-1", "renewed-2", "renewed-3"];
    for (const id of ids) granted(await worker.begin(id, { ttl: 60_000 }));
    const other = await server.session(t, url);
    await other.query("BEGIN; SELECT pg_advisory_xact_lock(hashtextextended('renewed-2', 0))");
    const leases = () =>
      server.query(
        url,
        "SELECT id, timeout_at FROM resonate.tasks WHERE starts_with(id, 'renewed-') ORDER BY id",
      );
    const before = await leases();
    const beaten = worker.beatAll(ids.map((id) => ({ id, version: 1 })));
    const renewed = async () => {
      const after = await leases();
      return ids.filter((_, i) => after[i]?.timeout_at !== before[i]?.timeout_at);
    };
    await eventually("the others to be renewed", async () => (await renewed()).length === 2);
    assert.deepEqual(await renewed(), ["renewed-1", "renewed-3"]);
    await other.query("ROLLBACK");
    granted(await beaten);
    assert.deepEqual(await renewed(), ids);
  });

  test("an execution that somebody holds a lock on does not keep others from being woken", async (t) => {
    const worker = await connect(t, url, "woken");
    const tags = (id: string) => ({ ...branchOf(id), "resonate:timer": "true" });
    for (const id of ["woken-1", "woken-2"]) {
      granted(await worker.begin(id));
      const timer = promiseCreate(`${id}:1`, { tags: tags(id), timeoutAt: Date.now() + 500 });
      granted(await worker.fence(id, 1, timer));
      assert.equal((await worker.suspend(id, 1, [`${id}:1`])).head.status, 200);
    }
    const other = await server.session(t, url);
    await other.query("BEGIN; SELECT pg_advisory_xact_lock(hashtextextended('woken-1:1', 0))");
    await eventually("the one that is free is woken", () => worker.sent("woken-2").length === 1);
    assert.deepEqual(worker.sent("woken-1"), []);
    await other.query("ROLLBACK");
    await eventually("the other one is woken, too", () => worker.sent("woken-1").length === 1);
  });

  test("a sleep has no task of its own, which would be sent to nobody", async (t) => {
    const worker = await connect(t, url, "sleepers");
    granted(await worker.begin("sleeper"));
    const tags = { ...branchOf("sleeper"), "resonate:timer": "true", "resonate:target": "poll://any@timers" };
    granted(await worker.fence("sleeper", 1, promiseCreate("sleeper:1", { tags })));
    assert.deepEqual(
      await server.query(url, "SELECT id FROM resonate.tasks WHERE starts_with(id, 'sleeper')"),
      [{ id: "sleeper" }],
    );
  });

  test("a worker takes no more executions than it has room for, and the others take the rest", async (t) => {
    const send = open(t, url);
    const ids = Array.from({ length: 10 }, (_, i) => `room-${i}`);
    for (const id of ids)
      granted(await send(promiseCreate(id, { tags: { "resonate:target": "poll://any@room" } })));
    const receive = async (pid: string, roomFor = Number.POSITIVE_INFINITY) => {
      const taken: string[] = [];
      const { messages, ...transport } = openPostgres({
        access: accessTo(url),
        group: "room",
        pid,
        logger: silent,
        room: () => roomFor - taken.length,
      });
      t.after(async () => {
        await messages.stop();
        await transport[Symbol.asyncDispose]();
      });
      messages.onReceive((message) => {
        if (message.kind === "execute") taken.push(message.data.task.id);
      });
      await messages.init();
      return taken;
    };
    const busy = await receive("busy", 3);
    await eventually("the busy one to have what it has room for", () => busy.length >= 3);
    const idle = await receive("idle");
    await eventually("the other one to have the rest", () => busy.length + idle.length >= ids.length);
    assert.equal(busy.length, 3);
    assert.deepEqual([...busy, ...idle].toSorted(), ids);
  });

  test("a worker has a table analyzed that never was, at its start", async (t) => {
    const count = "SELECT reltuples AS rows FROM pg_class WHERE oid = 'resonate.callbacks'::regclass";
    await server.query(url, "UPDATE pg_class SET reltuples = -1 WHERE oid = 'resonate.callbacks'::regclass");
    await connect(t, url, "analyzing");
    await eventually("its rows to be known", async () => {
      const [analyzed] = await server.query<{ rows: number }>(url, count);
      return analyzed !== undefined && analyzed.rows >= 0;
    });
  });

  test("promises are found by state and tags, in the order of their ids, page by page", async (t) => {
    const send = open(t, url);
    for (const id of ["c", "a", "B"])
      granted(await send(promiseCreate(`found-${id}`, { tags: { service: "s" } })));
    granted(await send(promiseCreate("found-other", { tags: { service: "another" } })));
    granted(await send(promiseSettle("found-c", "done")));
    const search = async (data: Extract<Request, { kind: "promise.search" }>["data"]) => {
      const { promises, cursor } = granted(await send({ kind: "promise.search", head: requestHead(), data }));
      return [promises.map(({ id }) => id), cursor];
    };
    const tags = { service: "s" };
    assert.deepEqual(await search({ tags }), [["found-B", "found-a", "found-c"], undefined]);
    assert.deepEqual(await search({ tags, state: "pending" }), [["found-B", "found-a"], undefined]);
    assert.deepEqual(await search({ tags, limit: 2 }), [["found-B", "found-a"], "found-a"]);
    assert.deepEqual(await search({ tags, limit: 2, cursor: "found-a" }), [["found-c"], undefined]);
  });
};

/** Ends the worker's connection that waits for a lock. */
const untilEnded = async (server: Postgres, url: string): Promise<number> => {
  for (let tries = 0; tries < 500; tries++) {
    const { length } = await server.query(
      url,
      `SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
       WHERE datname = current_database() AND usename = datname AND wait_event_type = 'Lock'`,
    );
    if (length > 0) return length;
  }
  return 0;
};

const testPurge = (server: Postgres) => {
  test("finished executions are deleted with their steps, those that go on and what ended later stay", async (t) => {
    const url = await createExecutions(server);
    const worker = await connect(t, url, "group");
    const begin = async (id: string) => {
      granted(await worker.begin(id));
      granted(await worker.fence(id, 1, promiseCreate(`${id}:1`, { tags: branchOf(id) })));
      granted(await worker.fence(id, 1, promiseSettle(`${id}:1`, "one")));
      granted(await worker.fence(id, 1, promiseCreate(`${id}:2`, { tags: branchOf(id) })));
    };
    for (const id of ["done", "running", "later"]) await begin(id);
    granted(await worker.fulfill("done", 1, "done"));
    const { settledAt = 0 } = granted(await worker.get("done")).promise;
    await using finished = findFinished(url, settledAt);
    assert.deepEqual(await finished.valuesOf("resonate:scope"), ["global"]);
    // Done later, though maybe in the same millisecond.
    await new Promise((resolve) => setTimeout(resolve, 5));
    granted(await worker.fulfill("later", 1, "done"));
    const counted = await finished.count();
    const deleted = await finished.delete(never);
    // "done" and its first step; its second, which never ended, is deleted with them and is not counted before.
    assert.ok(counted >= 2 && deleted === counted + 1, `${counted} counted, ${deleted} deleted`);
    const found = async (id: string) => isSuccess(await worker.get(id));
    for (const id of ["done", "done:1", "done:2"]) assert.equal(await found(id), false, id);
    for (const id of ["running", "running:1", "running:2", "later", "later:2"])
      assert.ok(await found(id), id);
    assert.equal(await finished.delete(never), 0);
  });
};

const testStart = (server: Postgres, url: string) => {
  const refused = (own: string, line: RegExp) =>
    assert.rejects(ping(accessTo(own)), (error) => {
      assert.ok(error instanceof AccessError, inspect(error));
      assert.match(error.message, line);
      const seen = inspect(error, { depth: 20, showHidden: true });
      assert.ok(!seen.includes(server.password) && !seen.includes(encodeURIComponent(server.password)));
      return true;
    });

  test("a database with the schema, and its owner: fit", () => ping(accessTo(url)));

  test("what a setting can mend is one line that names it, without the password", async () => {
    const wrong = new URL(url);
    wrong.password = "wrong";
    await refused(
      wrong.href,
      /^RESONATE_URL: expected a user and password .* postgres:\/\/127\.0\.0\.1:\d+\/records_/,
    );
    const missing = new URL(url);
    missing.pathname = "/missing";
    await refused(missing.href, /^RESONATE_URL: expected the name of a database that is there/);
    const empty = await server.createDatabase();
    await refused(empty, /^RESONATE_URL: expected the schema of resonatehq\/resonate-pg/);
    const stranger = new URL(empty);
    stranger.pathname = new URL(url).pathname;
    await refused(stranger.href, /^RESONATE_URL: expected the user that owns the schema resonate/);
    const old = await createExecutions(server);
    await server.query(
      old,
      "CREATE OR REPLACE FUNCTION resonate.get_schema_version() RETURNS text LANGUAGE sql AS $$ SELECT '9.0.0'::text $$",
    );
    await refused(old, /^RESONATE_URL: expected version 0\.1 of the schema resonate .* got 9\.0\.0$/);
  });

  test("a server that is not there is no refusal: it may come", () =>
    assert.rejects(
      ping(accessTo("postgres://user:s3cret@127.0.0.1:1/name")),
      (error) => !(error instanceof AccessError) && !inspect(error).includes("s3cret"),
    ));
};

suite("executions in Postgres", { skip: skipExecutions, timeout: 180_000 }, async () => {
  if (skipExecutions) return;
  const server = await startPostgres({ after });
  const url = await createExecutions(server);
  testContract({ start: () => url, prefersOwner: false });
  testRequests(server, url);
  testPurge(server);
  testStart(server, url);
});
