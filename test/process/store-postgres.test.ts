import assert from "node:assert/strict";
import { after, suite, type TestContext, test } from "node:test";
import { setTimeout } from "node:timers/promises";
import { spawnWorker, type WorkerProcess } from "../../src/demo/worker-process.ts";
import { type DeletionScene, setScene } from "../helpers/deletion-scene.ts";
import { type Postgres, skipPostgres, startPostgres } from "../helpers/postgres.ts";
import { linesWith, until, within } from "../helpers/scene.ts";

/** How long the database is away, in milliseconds. */
const OUTAGE_MS = Number(process.env.OUTAGE_SECONDS ?? 15) * 1000;

const assertExact = async (scene: DeletionScene, ids: readonly string[], batches: number) => {
  const ledger = await scene.records.ledger();
  for (const id of ids) {
    assert.deepEqual(
      ledger.filter(({ recordId }) => recordId === id).map(({ batch, deleted }) => [batch, deleted]),
      Array.from({ length: batches }, (_, batch) => [batch, scene.settings.BATCH_SIZE]),
      `batches of ${id}`,
    );
  }
  assert.equal(ledger.length, ids.length * batches);
  assert.equal(await scene.records.countRows(), 0);
  assert.equal(scene.deadLetters.length, 0);
};

const assertNoPassword = (workers: readonly WorkerProcess[], { password }: Postgres) => {
  for (const { lines } of workers) {
    const all = lines.join("\n");
    assert.ok(
      !all.includes(password) && !all.includes(encodeURIComponent(password)),
      "the password is shown",
    );
  }
};

const seedMany = (scene: DeletionScene, count: number, batches: number) =>
  Promise.all(Array.from({ length: count }, (_, i) => scene.seed({ batches, partition: i % 2 })));

const allDone = (scene: DeletionScene, ids: readonly string[]) => () =>
  ids.every((id) => scene.completionsOf(id).length > 0);

const testWorkers = (start: (t: TestContext) => Promise<Postgres>) => {
  test("two workers on one database, one of which is killed: every row goes once, every record is completed", async (t) => {
    const server = await start(t);
    const scene = await setScene(t, { RECORDS_DB: await server.createDatabase(), STEP_CONCURRENCY: "4" });
    const workers = await Promise.all([scene.startWorker(), scene.startWorker()]);
    const ids = await seedMany(scene, 20, 5);
    await until("half of the batches", async () => (await scene.records.ledger()).length >= 50);
    workers[0].kill("SIGKILL");
    await until("every completion", allDone(scene, ids));
    await assertExact(scene, ids, 5);
    const done = Map.groupBy(await scene.records.ledger(), ({ worker }) => worker);
    assert.equal(done.size, 2, "both had a share");
    assertNoPassword(workers, server);
  });

  test("the database crashes and is away: steps wait for it, none fails for good, and nothing is doubled", async (t) => {
    const server = await start(t);
    const url = await server.createDatabase();
    // Fewer attempts than an outage takes: it counts none.
    const scene = await setScene(t, { RECORDS_DB: url, STEP_MAX_ATTEMPTS: "2", BATCH_PAUSE_MS: "300" });
    const workers = await Promise.all([scene.startWorker(), scene.startWorker()]);
    const ids = await seedMany(scene, 20, 6);
    await until("the first batches", async () => (await scene.records.ledger()).length >= 20);

    await server.stop("immediate");
    const late = await within(
      "a worker that waits",
      (async () => {
        const worker = scene.resources.use(spawnWorker(scene.env, { cwd: scene.folder, args: ["deletion"] }));
        await until("its line", () => linesWith(worker, "row store postgres://127.0.0.1:").length >= 2);
        return worker;
      })(),
    );
    await setTimeout(OUTAGE_MS);
    assert.ok(linesWith(late, "is ready").length === 0, "it waits for what its steps need");
    for (const worker of workers) {
      const tries = linesWith(worker, "step deleteBatch of").filter((line) => line.includes("ECONNREFUSED"));
      assert.ok(tries.length >= 3, "it tries again and again");
    }
    await server.start();
    await within("the late worker", late.ready);
    await until("every completion", allDone(scene, ids), OUTAGE_MS + 60_000);
    await assertExact(scene, ids, 6);
    for (const worker of workers) assert.ok(worker.kill("SIGTERM"), "it lives");
    for (const worker of workers) assert.equal(await within("the end", worker.exited), 0);
    assertNoPassword([...workers, late], server);
  });

  test("connections are ended again and again under two workers: every row goes once", async (t) => {
    const server = await start(t);
    const url = await server.createDatabase();
    const scene = await setScene(t, { RECORDS_DB: url, STEP_MAX_ATTEMPTS: "2" });
    const workers = await Promise.all([scene.startWorker(), scene.startWorker()]);
    const ids = await seedMany(scene, 20, 8);
    let ended = 0;
    await until("every completion", async () => {
      const rows = await server.query(
        url,
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'deletion %'",
      );
      ended += rows.length;
      return allDone(scene, ids)();
    });
    assert.ok(ended > 10, `${ended} connections were ended`);
    await until("the last answer", () =>
      scene.records.countRows().then(
        () => true,
        () => false,
      ),
    );
    await assertExact(scene, ids, 8);
    for (const worker of workers) assert.ok(worker.kill("SIGTERM"), "it lives");
    assertNoPassword(workers, server);
  });

  test("a worker that the database refuses says why in one line, without the password, exit code 1", async (t) => {
    const server = await start(t);
    const url = await server.createDatabase();
    const scene = await setScene(t, { RECORDS_DB: url });
    const refuse = async (place: string, expected: RegExp) => {
      const worker = scene.resources.use(
        spawnWorker({ ...scene.env, RECORDS_DB: place }, { cwd: scene.folder, args: ["deletion"] }),
      );
      assert.equal(await within("its end", worker.exited), 1);
      assert.match(worker.lines.at(-1) ?? "", expected);
      assert.equal(linesWith(worker, "row store postgres://127.0.0.1:").length, 1);
      assertNoPassword([worker], server);
      assert.ok(!worker.lines.join().includes("wr0ng"));
    };
    const wrong = new URL(url);
    wrong.password = "wr0ng";
    await refuse(wrong.href, /^row store postgres:\/\/[\d.:]+\/records_\w+: password authentication failed/);
    await server.query(url, "INSERT INTO deletion.migrations (version) VALUES (99)");
    await refuse(url, /expected schema version 1, got version 99: use the release that made it/);
  });
};

if (skipPostgres) {
  test("workers on Postgres", { skip: skipPostgres });
} else {
  const shared = await startPostgres({ after });
  suite("workers on Postgres", { concurrency: 2, timeout: 240_000 }, () =>
    testWorkers(async (t) => (t.name.includes("crashes") ? startPostgres(t) : shared)),
  );
}
