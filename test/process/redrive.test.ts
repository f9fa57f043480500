import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { DatabaseSync } from "node:sqlite";
import { suite, test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { HEADERS, REDRIVES_HEADER } from "../../src/worker/dead-letter.ts";
import { IDEMPOTENCY_KEY_HEADER } from "../../src/worker/publish.ts";
import { type DeletionScene, setScene } from "../helpers/deletion-scene.ts";
import { countExecutions, type Executions, follow } from "../helpers/protocol.ts";
import { until } from "../helpers/scene.ts";

const REDRIVE = fileURLToPath(new URL("../../src/bin/redrive.ts", import.meta.url));

/** Runs `npm run redrive` to its end; what it printed, line by line. */
const redrive = async ({ env, folder }: DeletionScene, ...args: string[]): Promise<string[]> => {
  const { stdout } = await promisify(execFile)(process.execPath, [REDRIVE, ...args], {
    cwd: folder,
    env: { ...process.env, ...env },
  });
  return stdout.trimEnd().split("\n");
};

const summary = ({ settings }: DeletionScene, sum: number) =>
  `${sum} messages went from ${settings.TOPIC_DEAD_LETTERS} back to ${settings.TOPIC_SOURCE}`;

const reasonsOf = ({ deadLetters }: DeletionScene) =>
  deadLetters.map(({ headers }) => String(headers?.[HEADERS.reason])).sort();

/** Asserts that one of a record's executions, the first one or one of those after redrives, published its completion. */
const assertCompletedOnce = (scene: DeletionScene, { executionsWith }: Executions, id: string) => {
  const executions = [id, `${id}\u001f1`, `${id}\u001f2`];
  const count = executions.reduce((sum, own) => sum + executionsWith("enqueueCompletion", own), 0);
  assert.equal(count, 1, `executions of ${id} with a completion`);
  const keys = new Set(
    scene.completionsOf(id).map(({ headers }) => String(headers?.[IDEMPOTENCY_KEY_HEADER])),
  );
  assert.equal(keys.size, 1, `keys of the completions of ${id}`);
};

suite("redrive", { concurrency: 3 }, () => {
  test("mode 19: dead letters are driven again, by reason and then all: each runs exactly once, and a second run repeats nothing", async (t) => {
    const scene = await setScene(t);
    const executions = countExecutions();
    const { created } = executions;
    follow(scene.proxy, executions);
    const failing = await scene.startWorker({ WORKFLOW_TIMEOUT_MS: "1" });
    const failed = await Promise.all([1, 2, 3].map((batches) => scene.seed({ batches })));
    const refused = ["first", "second"].map((nth) => `${nth}-refused-${scene.settings.KAFKA_GROUP_ID}`);
    await scene.records.addRows(new Map(refused.map((id) => [id, scene.settings.BATCH_SIZE])));
    await scene.produce(
      ...refused.map((id) => ({
        key: id,
        value: id,
        headers: { [REDRIVES_HEADER]: "often", origin: "test" },
      })),
    );
    await until("all dead letters", () => scene.deadLetters.length >= 5);
    assert.deepEqual(reasonsOf(scene), [
      ...failed.map(() => "execution-failed"),
      ...refused.map(() => "invalid-redrive-count"),
    ]);
    assert.equal(scene.completions.length, 0);
    await until("the commit of all five", async () => (await scene.committed()) === 5);
    failing.kill("SIGTERM");
    assert.equal(await failing.exited, 0);

    await scene.startWorker();
    assert.deepEqual(await redrive(scene, "--reason", "execution-failed"), [
      "execution-failed: 3",
      summary(scene, 3),
    ]);
    await until("what had failed", () => failed.every((id) => scene.completionsOf(id).length > 0));
    for (const id of failed) {
      assert.equal(created.get(id), 1, "the execution that failed is not started again");
      assert.equal(created.get(`${id}\u001f1`), 1);
    }
    assert.ok(!refused.some((id) => created.has(id)));
    assert.deepEqual(await redrive(scene, "--reason", "execution-failed"), [summary(scene, 0)]);

    assert.deepEqual(await redrive(scene), ["invalid-redrive-count: 2", summary(scene, 2)]);
    await until("what had been refused", () => refused.every((id) => scene.completionsOf(id).length > 0));
    assert.deepEqual(await redrive(scene), [summary(scene, 0)]);

    await until("the commit of what came back", async () => (await scene.committed()) === 10);
    assert.equal(created.size, 8, "three failed, three again, two came through");
    const expected = new Map([
      ...failed.map((id, i) => [id, i + 1] as const),
      ...refused.map((id) => [id, 1] as const),
    ]);
    for (const [id, batches] of expected) {
      assertCompletedOnce(scene, executions, id);
      assert.equal(await scene.batchesOf(id), batches);
    }
    assert.equal(await scene.records.countRows(), 0);
    assert.equal(scene.deadLetters.length, 5);
  });

  test("mode 19: a message that is still bad comes back to the dead-letter topic as it was", async (t) => {
    const scene = await setScene(t);
    await scene.startWorker();
    const [key, value, own] = [Buffer.from([0, 0xfe]), Buffer.from([0xff, 0x22]), Buffer.from([0xfd])];
    // kafkajs reads the second and the third one wrong: they are named like members of Object.prototype.
    await scene.produce({ key, value, headers: { own, constructor: "a", ["__proto__"]: "b" } });
    await until("the dead letter", () => scene.deadLetters.length === 1);
    assert.deepEqual(await redrive(scene), ["invalid-utf8: 1", summary(scene, 1)]);
    await until("the second dead letter", () => scene.deadLetters.length === 2);
    for (const { key: sameKey, value: sameValue, headers } of scene.deadLetters) {
      assert.deepEqual([sameKey, sameValue, headers?.own], [key, value, own]);
      assert.deepEqual(String(headers?.constructor).split(",").at(-1), "a");
      assert.equal(String(headers?.[HEADERS.reason]), "invalid-utf8");
    }
    const [first, again] = scene.deadLetters.map(({ headers }) => Object.keys(headers ?? {}).sort());
    assert.deepEqual(again, first);
  });

  test("mode 20: a record whose step fails for good reaches the dead-letter topic with the error, and is driven again under another promise id", async (t) => {
    const scene = await setScene(t, { STEP_MAX_ATTEMPTS: "2" });
    const executions = countExecutions();
    const { created } = executions;
    follow(scene.proxy, executions);
    const worker = await scene.startWorker();
    const id = `record-under-lock-${scene.settings.KAFKA_GROUP_ID}`;
    await scene.records.addRows(new Map([[id, 2 * scene.settings.BATCH_SIZE]]));
    using other = new DatabaseSync(scene.settings.RECORDS_DB, { timeout: 5000 });
    other.exec("BEGIN IMMEDIATE");
    const original = { key: Buffer.from([0xff, 0]), value: Buffer.from(`{"recordId": "${id}", "n": 1}`) };
    const trace = Buffer.from([0xfe, 0x22]);
    await scene.produce({ ...original, headers: { trace } });
    const letter = await until("the dead letter", () => scene.deadLetters[0]);
    assert.deepEqual(
      { key: letter.key, value: letter.value, trace: letter.headers?.trace },
      { ...original, trace },
      "byte for byte as it came",
    );
    assert.equal(String(letter.headers?.[HEADERS.reason]), "execution-failed");
    assert.equal(
      String(letter.headers?.[HEADERS.error]),
      `row store ${scene.settings.RECORDS_DB}: database is locked`,
    );
    await until("the line about it", () =>
      worker.lines.some((line) => line.includes(`record ${id} in position 0 goes to`)),
    );
    const tries = worker.lines.filter(
      (line) =>
        line.includes(`step deleteBatch of ${id} failed (attempt 1), next try in 0.2 s`) &&
        line.includes("is locked"),
    );
    assert.equal(tries.length, 1, "two attempts, one retry");
    assert.ok(!worker.lines.some((line) => line.includes("(attempt 2)")));
    other.exec("COMMIT");
    assert.equal(scene.completionsOf(id).length, 0);
    assert.equal(await scene.batchesOf(id), 0);

    assert.deepEqual(await redrive(scene), ["execution-failed: 1", summary(scene, 1)]);
    await until("the completion", () => scene.completionsOf(id).length > 0);
    assert.deepEqual(
      [...created],
      [
        [id, 1],
        [`${id}\u001f1`, 1],
      ],
    );
    assertCompletedOnce(scene, executions, id);
    assert.equal(await scene.batchesOf(id), 2);
    assert.equal(await scene.records.countRows(), 0);
    assert.equal(scene.deadLetters.length, 1);
  });

  test("mode 20: a record whose execution runs out of time reaches the dead-letter topic with the deadline, and goes on from there when it is driven again", async (t) => {
    const scene = await setScene(t);
    const executions = countExecutions();
    follow(scene.proxy, executions);
    const hasty = await scene.startWorker({ WORKFLOW_TIMEOUT_MS: "1500", BATCH_PAUSE_MS: "500" });
    const id = await scene.seed({ batches: 15 });
    const letter = await until("the dead letter", () => scene.deadLetters[0]);
    assert.equal(String(letter.headers?.[HEADERS.reason]), "execution-failed");
    assert.match(
      String(letter.headers?.[HEADERS.error]),
      new RegExp(`^expected ${id} to be done by \\d{4}-\\d\\d-\\d\\dT[\\d:.]+Z, got to step deleteBatch$`),
    );
    assert.ok((await scene.records.countRows()) > 0, "rows are left");
    const applied = await scene.batchesOf(id);
    assert.equal(scene.completionsOf(id).length, 0);
    hasty.kill("SIGTERM");
    assert.equal(await hasty.exited, 0);

    await scene.startWorker({ BATCH_PAUSE_MS: "0" });
    assert.deepEqual(await redrive(scene), ["execution-failed: 1", summary(scene, 1)]);
    await until("the completion", () => scene.completionsOf(id).length > 0);
    assert.equal(await scene.records.countRows(), 0);
    assert.deepEqual(
      (await scene.entriesOf(id)).map(({ batch, repeats }) => [batch, repeats]),
      Array.from({ length: 15 }, (_, batch) => [batch, batch < applied ? 1 : 0]),
      "what was done before the deadline was given from the ledger, the rest was done after",
    );
    assertCompletedOnce(scene, executions, id);
  });
});
