import assert from "node:assert/strict";
import { suite, test } from "node:test";
import { setTimeout } from "node:timers/promises";
import { withTimeout } from "../../src/support/retry.ts";
import { IDEMPOTENCY_KEY_HEADER } from "../../src/worker/publish.ts";
import { type DeletionScene, setScene } from "../helpers/deletion-scene.ts";
import { beginServerOutage, skipServerOutage } from "../helpers/outage.ts";
import { countExecutions, type Executions, follow, isStep, Lost } from "../helpers/protocol.ts";
import { until } from "../helpers/scene.ts";

/** An undelivered message is sent again after 30 s, and a worker waits up to 31 s before it asks for messages again. */
const REDELIVERY_MS = 100_000;

const linesWith = ({ lines }: { lines: readonly string[] }, text: string) =>
  lines.filter((line) => line.includes(text)).length;

const assertUp = async (worker: { exited: Promise<unknown> }) =>
  assert.equal(await Promise.race([worker.exited, "up"]), "up");

const assertDoneOnce = async (
  scene: DeletionScene,
  batchesById: ReadonlyMap<string, number>,
  { executionsWith }: Executions,
) => {
  for (const [id, batches] of batchesById) {
    const keys = scene.completionsOf(id).map(({ headers }) => String(headers?.[IDEMPOTENCY_KEY_HEADER]));
    assert.equal(new Set(keys).size, 1, `completions of ${id}: ${keys.join(", ")}`);
    assert.equal(executionsWith("enqueueCompletion", id), 1, `executions of ${id}`);
    assert.deepEqual(
      (await scene.entriesOf(id)).map(({ batch }) => batch),
      Array.from({ length: batches }, (_, batch) => batch),
      `batches of ${id}`,
    );
  }
  assert.equal(await scene.records.countRows(), 0);
};

/**
 * Takes the server away from a worker that has executions asleep and one in a step, produces meanwhile, and asserts
 * that nothing is committed without an execution and that everything finishes once the server is back.
 */
const rideOut = async (
  scene: DeletionScene,
  begin: () => Promise<{ end(): Promise<void> }>,
  { leavesGroup = false } = {},
) => {
  const worker = await scene.startWorker();
  const asleep = new Set<string>();
  const started = new Set<string>();
  const executions = countExecutions();
  const { promise: begun, resolve, reject } = Promise.withResolvers<{ end(): Promise<void> }>();
  let inStep: string | undefined;
  /** Records whose step has begun and not ended: on a busy machine there may be more of them when the server goes. */
  const running = new Set<string>();
  let [isDown, wasDown] = [false, false];
  follow(scene.proxy, {
    before: async (passing) => {
      if (!wasDown && isStep("deleteBatch", "begin")(passing)) running.add(passing.recordId);
      if (wasDown || passing.recordId !== inStep || !isStep("deleteBatch", "end")(passing)) return;
      isDown = wasDown = true;
      await begin().then(resolve, reject);
      throw new Lost("the server is down");
    },
    after: async (passing, status) => {
      await executions.after(passing, status);
      const { request, recordId } = passing;
      if (!wasDown && isStep("deleteBatch", "end")(passing)) running.delete(recordId);
      if (request.kind === "task.suspend" && status === 200) asleep.add(recordId);
      if (request.kind === "task.create" && (status === 200 || status === 409)) started.add(recordId);
    },
  });
  const before = await Promise.all(Array.from({ length: 6 }, () => scene.seed({ batches: 2 })));
  await until("all to sleep after their first batch", () => before.every((id) => asleep.has(id)));
  await until("the commit", async () => (await scene.committed()) === before.length);
  inStep = `in-step-${scene.settings.KAFKA_GROUP_ID}`;
  await scene.seed({ batches: 2, recordId: inStep });
  const outage = await withTimeout(begun, 30_000, "the outage");
  assert.equal(await scene.batchesOf(inStep), 1, "the server went between a batch and its checkpoint");
  const joins = linesWith(worker, "joined consumer group");
  assert.equal(joins, 1);

  const meanwhile = await Promise.all(Array.from({ length: 10 }, () => scene.seed({ batches: 1 })));
  const ended = outage.end().then(() => {
    isDown = false;
  });
  let samples = 0;
  while (isDown) {
    const committed = await scene.committed();
    assert.ok(committed <= started.size, `${committed} committed, ${started.size} executions`);
    samples += 1;
    await Promise.race([ended, setTimeout(100)]);
  }
  await ended;
  assert.ok(samples >= 5, `offsets were looked at ${samples} times during the outage`);
  assert.ok(linesWith(worker, "cannot start an execution") > 0, "the worker met messages in the outage");

  const all = new Map([...before, inStep].map((id): [string, number] => [id, 2]));
  for (const id of meanwhile) all.set(id, 1);
  await until(
    "every completion",
    () => [...all.keys()].every((id) => scene.completionsOf(id).length > 0),
    REDELIVERY_MS,
  );
  await until("the commit of all", async () => (await scene.committed()) === all.size);
  await assertDoneOnce(scene, all, executions);
  const repeated = new Map(
    (await scene.records.ledger())
      .filter(({ repeats }) => repeats > 0)
      .map(({ recordId, repeats }) => [recordId, repeats]),
  );
  assert.equal(repeated.get(inStep), 1, "the batch whose checkpoint was lost was asked for again");
  for (const [id, repeats] of repeated)
    assert.ok(running.has(id) && repeats === 1, `${id} again: ${repeats}`);
  assert.equal(linesWith(worker, "leaving consumer group"), leavesGroup ? 1 : 0);
  assert.equal(linesWith(worker, "joined consumer group"), leavesGroup ? joins + 1 : joins, "rebalances");
  await assertUp(worker);
};

suite("outage", { concurrency: 5 }, () => {
  const closeFor = async ({ proxy }: DeletionScene, ms: number) => {
    await proxy.close();
    return {
      end: async () => {
        await setTimeout(ms);
        await proxy.open();
      },
    };
  };

  test("mode 15: the server cannot be reached for 20 s: nothing is committed without an execution, the group stays as it is, everything finishes after", async (t) => {
    const scene = await setScene(t, { BATCH_PAUSE_MS: "3000" });
    await rideOut(scene, () => closeFor(scene, 20_000));
  });

  test("mode 15: the server cannot be reached for longer than 30 s: the worker leaves its group, joins it again after, and everything finishes", async (t) => {
    const scene = await setScene(t, { BATCH_PAUSE_MS: "3000" });
    await rideOut(scene, () => closeFor(scene, 36_000), { leavesGroup: true });
  });

  test("mode 15: the server is restarted and keeps its state: executions asleep and in a step go on", {
    skip: skipServerOutage,
  }, async (t) => {
    const scene = await setScene(t, { BATCH_PAUSE_MS: "3000" });
    await rideOut(scene, () => beginServerOutage(scene, 6000));
  });

  test("mode 16: all connections of a worker are cut at once, five times: everything is done once", async (t) => {
    const scene = await setScene(t);
    const { embedded, proxy } = scene;
    const worker = await scene.startWorker();
    const cuts: { server: number; broker: number | undefined }[] = [];
    let cutAt: ReturnType<typeof isStep> | undefined;
    let cut = Promise.withResolvers<void>();
    const executions = countExecutions();
    follow(proxy, {
      after: executions.after,
      before: (passing) => {
        if (!cutAt?.(passing)) return;
        cutAt = undefined;
        // The request itself arrives: only its answer is lost.
        cuts.push({ server: proxy.cut(), broker: embedded?.broker.dropConnections() });
        cut.resolve();
      },
    });
    const all = new Map<string, number>();
    for (let round = 0; round < 5; round++) {
      cut = Promise.withResolvers<void>();
      cutAt = isStep(round % 2 === 0 ? "deleteBatch" : "enqueueCompletion", "end");
      const batches = 1 + (round % 3);
      const ids = await Promise.all(Array.from({ length: 6 }, () => scene.seed({ batches })));
      for (const id of ids) all.set(id, batches);
      await withTimeout(cut.promise, 30_000, "the cut");
    }
    assert.equal(cuts.length, 5);
    for (const { server, broker } of cuts) assert.ok(server > 0 && broker !== 0, JSON.stringify(cuts));
    await until(
      "every completion",
      () => [...all.keys()].every((id) => scene.completionsOf(id).length > 0),
      REDELIVERY_MS,
    );
    await assertDoneOnce(scene, all, executions);
    await assertUp(worker);
  });
});
