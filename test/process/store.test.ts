import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { rm } from "node:fs/promises";
import { DatabaseSync } from "node:sqlite";
import { suite, test } from "node:test";
import { promisify } from "node:util";
import type { WorkerProcess } from "../../src/demo/worker-process.ts";
import { HEADERS } from "../../src/worker/dead-letter.ts";
import { type DeletionScene, setScene } from "../helpers/deletion-scene.ts";
import { until } from "../helpers/scene.ts";

const run = promisify(execFile);

/** Tries of a step that failed with an error that names `what`. */
const failures = (worker: WorkerProcess, what: string) =>
  worker.lines.filter((line) => line.includes("next try in") && line.includes(what)).length;

const assertExactBatches = async (scene: DeletionScene, id: string, batches: number) => {
  assert.deepEqual(
    (await scene.entriesOf(id)).map(({ batch, repeats }) => [batch, repeats]),
    Array.from({ length: batches }, (_, batch) => [batch, 0]),
  );
  assert.equal(await scene.records.countRows(), 0);
};

/** Where a process's file size can be limited: Linux, with util-linux. */
const hasPrlimit = await run("prlimit", ["--version"]).then(
  () => true,
  () => false,
);

suite("row store", { concurrency: 3 }, () => {
  test("mode 21: the row store is locked by another process: the batch is tried again until it is free", async (t) => {
    const scene = await setScene(t, { BATCH_PAUSE_MS: "500" });
    const worker = await scene.startWorker();
    const id = await scene.seed({ batches: 3 });
    await until("the first batch", async () => (await scene.batchesOf(id)) === 1);

    using other = new DatabaseSync(scene.settings.RECORDS_DB, { timeout: 5000 });
    other.exec("BEGIN IMMEDIATE");
    const applied = await scene.batchesOf(id);
    assert.ok(applied < 3, "locked before the last batch");
    await until("several tries", () => failures(worker, "database is locked") >= 3);
    assert.equal(await scene.batchesOf(id), applied);
    assert.equal(scene.completionsOf(id).length, 0);

    other.exec("COMMIT");
    await until("the completion", () => scene.completionsOf(id).length > 0);
    await assertExactBatches(scene, id, 3);
  });

  test("mode 21: the disk is full: the batch is tried again until there is room", async (t) => {
    if (!hasPrlimit) return t.skip("needs prlimit (Linux) to make a worker's writes fail");
    const scene = await setScene(t, { BATCH_PAUSE_MS: "500" });
    const worker = await scene.startWorker();
    const id = await scene.seed({ batches: 3 });
    await until("the first batch", async () => (await scene.batchesOf(id)) === 1);

    // Node ignores SIGXFSZ, so a write beyond the limit fails, as on a full disk. Pipes have no such limit.
    await run("prlimit", ["--pid", String(worker.pid), "--fsize=0:"]);
    const applied = await scene.batchesOf(id);
    assert.ok(applied < 3, "full before the last batch");
    await until("several tries", () => failures(worker, scene.settings.RECORDS_DB) >= 3);
    assert.ok(failures(worker, "disk I/O error") + failures(worker, "disk is full") >= 3);
    assert.ok((await scene.batchesOf(id)) < 3);
    assert.equal(scene.completionsOf(id).length, 0);

    await run("prlimit", ["--pid", String(worker.pid), "--fsize=unlimited:"]);
    await until("the completion", () => scene.completionsOf(id).length > 0);
    await assertExactBatches(scene, id, 3);
  });

  test("mode 22: the row store file is deleted under a running worker: an error that says so, and no false completion, by this worker or the next", async (t) => {
    const scene = await setScene(t, { BATCH_PAUSE_MS: "500" });
    const { RECORDS_DB } = scene.settings;
    const first = await scene.startWorker();
    const id = await scene.seed({ batches: 5 });
    await until("the first batch", async () => (await scene.batchesOf(id)) === 1);
    for (const suffix of ["", "-wal", "-shm"]) await rm(`${RECORDS_DB}${suffix}`);
    assert.ok((await scene.batchesOf(id)) < 5, "deleted in the middle of the record");

    await until("several tries", () => failures(first, "expected the file that was opened, got none") >= 2);
    assert.ok(failures(first, RECORDS_DB) >= 2, "the file is named");

    const second = await scene.startWorker({ STEP_MAX_ATTEMPTS: "2" });
    await until("the new file to be noticed", () => failures(first, "got another") > 0);
    first.kill("SIGKILL");
    await first.exited;
    const letter = await until("the dead letter", () => scene.deadLetters[0]);
    assert.equal(String(letter.headers?.[HEADERS.reason]), "execution-failed");
    assert.match(
      String(letter.headers?.[HEADERS.error]),
      /expected the \d+ earlier batches of record .* in the ledger, got fewer/,
    );
    await until("the line about it", () =>
      second.lines.some((line) => line.includes(`record ${id} in position 0 goes to`)),
    );
    assert.ok(failures(second, "earlier batches") > 0);

    // The execution has ended with the dead letter: what was not said by now, never will be.
    assert.equal(scene.completionsOf(id).length, 0);
    for (const { lines } of [first, second]) {
      assert.ok(!lines.some((line) => line.includes("all rows deleted")));
    }
  });
});
