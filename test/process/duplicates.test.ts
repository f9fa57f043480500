import assert from "node:assert/strict";
import { suite, test } from "node:test";
import type { WorkerProcess } from "../../src/demo/worker-process.ts";
import { type DeletionScene, setScene } from "../helpers/deletion-scene.ts";
import { dispatchesOf } from "../helpers/dispatches.ts";
import { follow } from "../helpers/protocol.ts";
import { partitionsOf, until, within } from "../helpers/scene.ts";

/** Sets the group back to the first message of each partition, as an operator does to read a topic again. */
const rewind = async ({ kafka, settings }: DeletionScene) => {
  const admin = kafka.admin();
  await admin.connect();
  try {
    const partitions = Array.from({ length: settings.TOPIC_PARTITIONS }, (_, partition) => ({
      partition,
      offset: "0",
    }));
    await admin.setOffsets({ groupId: settings.KAFKA_GROUP_ID, topic: settings.TOPIC_SOURCE, partitions });
  } finally {
    await admin.disconnect();
  }
};

const outcomesOf = (worker: WorkerProcess, id: string) =>
  dispatchesOf(worker, id).map(({ outcome }) => outcome);

const assertRanOnce = async (scene: DeletionScene, id: string, batches: number) => {
  assert.deepEqual(
    (await scene.entriesOf(id)).map(({ batch, repeats }) => [batch, repeats]),
    Array.from({ length: batches }, (_, batch) => [batch, 0]),
  );
  assert.equal(scene.completionsOf(id).length, 1, "completions");
};

/** A record that is produced now and done: what had been consumed before it is done by then, too. */
const runMarker = async (scene: DeletionScene, partition: number) => {
  const marker = await scene.seed({ batches: 2, partition });
  await until("the marker's completion", () => scene.completionsOf(marker).length > 0);
};

suite("duplicates", { concurrency: 3, timeout: 180_000 }, () => {
  test("mode 5: a message that is delivered again after its record is done starts nothing", async (t) => {
    const scene = await setScene(t);
    const first = await scene.startWorker();
    const id = await scene.seed({ batches: 2, partition: 0 });
    await until("the completion", () => scene.completionsOf(id).length > 0);
    await until("the commit", async () => (await scene.committed()) === 1);
    first.kill("SIGTERM");
    assert.equal(await within("the worker's end", first.exited), 0);

    await rewind(scene);
    assert.equal(await scene.committed(), 0, "the message is to be delivered again");
    const second = await scene.startWorker();
    await until("the second dispatch", () => outcomesOf(second, id).length === 1);
    await runMarker(scene, 0);
    await until("the commit", async () => (await scene.committed()) === 2);
    assert.deepEqual([outcomesOf(first, id), outcomesOf(second, id)], [["kicked off"], ["finished before"]]);
    await assertRanOnce(scene, id, 2);
  });

  test("mode 5: a message that is delivered again while its record is at work joins that execution", async (t) => {
    const scene = await setScene(t, { BATCH_PAUSE_MS: "1000" });
    const first = await scene.startWorker();
    const id = await scene.seed({ batches: 6, partition: 0 });
    await until("the first batch", async () => (await scene.batchesOf(id)) > 0);
    await until("the commit", async () => (await scene.committed()) === 1);
    first.kill("SIGTERM");
    assert.equal(await within("the worker's end", first.exited), 0);

    await rewind(scene);
    assert.equal(await scene.committed(), 0, "the message is to be delivered again");
    const second = await scene.startWorker();
    await until("the second dispatch", () => outcomesOf(second, id).length === 1);
    assert.deepEqual([outcomesOf(first, id), outcomesOf(second, id)], [["kicked off"], ["at work already"]]);
    assert.ok(
      (await scene.records.countRows()) > 0,
      "the record is still at work when its message comes again",
    );
    await until("the completion", () => scene.completionsOf(id).length > 0, 60_000);
    await runMarker(scene, 0);
    await assertRanOnce(scene, id, 6);
  });

  test("mode 5: more messages with the id of a record start nothing, be it at work or done", async (t) => {
    const scene = await setScene(t, { BATCH_PAUSE_MS: "500" });
    const worker = await scene.startWorker();
    const id = await scene.seed({ batches: 4, partition: 0 });
    await scene.produce({ key: id, value: id, partition: 0 });
    await until("the dispatch of the second message", () => outcomesOf(worker, id).length === 2);
    assert.ok(
      (await scene.records.countRows()) > 0,
      "the record is still at work when the second message comes",
    );
    await until("the completion", () => scene.completionsOf(id).length > 0);

    await scene.produce({ key: id, value: JSON.stringify([id]), partition: 0 });
    await until("the dispatch of the third message", () => outcomesOf(worker, id).length === 3);
    assert.deepEqual(outcomesOf(worker, id), ["kicked off", "at work already", "finished before"]);
    await runMarker(scene, 0);
    await until("the commit", async () => (await scene.committed()) === 4);
    await assertRanOnce(scene, id, 4);
    assert.equal(scene.deadLetters.length, 0);
  });

  test("mode 9: one id in two partitions at the same moment at two workers: one execution", async (t) => {
    const scene = await setScene(t);
    const workers = await Promise.all([scene.startWorker(), scene.startWorker()]);
    const names = await Promise.all(workers.map((worker) => worker.ready));
    await until("each worker to own one partition", () => {
      const owned = workers.map(partitionsOf);
      return owned.every(({ length }) => length === 1) && owned[0]?.[0] !== owned[1]?.[0];
    });
    // Moves the id to different offsets.
    const ahead = await scene.seed({ batches: 1, partition: 0 });
    await until("the record ahead", () => scene.completionsOf(ahead).length > 0);

    const id = `${ahead}-twin`;
    const askers: string[] = [];
    const answers: number[] = [];
    const together = Promise.withResolvers<void>();
    follow(scene.proxy, {
      // Neither request goes on before the other worker has sent its own.
      before: ({ request, recordId, worker = "" }) => {
        if (request.kind !== "task.create" || recordId !== id) return;
        askers.push(worker);
        if (askers.length === 2) together.resolve();
        return together.promise;
      },
      after: ({ request, recordId }, status) => {
        if (request.kind === "task.create" && recordId === id) answers.push(status);
      },
    });
    await scene.records.addRows(new Map([[id, 3 * scene.settings.BATCH_SIZE]]));
    await scene.produce({ key: id, value: id, partition: 0 }, { key: id, value: id, partition: 1 });
    await until("both dispatches", () => workers.every((worker) => outcomesOf(worker, id).length === 1));
    await until("the completion", () => scene.completionsOf(id).length > 0);

    assert.deepEqual(askers.toSorted(), names.toSorted(), "each worker asked for the execution");
    assert.deepEqual(answers.toSorted(), [200, 409], "one of them was given it");
    const dispatches = workers.flatMap((worker) => dispatchesOf(worker, id));
    const outcomes = dispatches.map(({ outcome }) => outcome);
    assert.deepEqual(outcomes.toSorted(), ["at work already", "kicked off"]);
    const places = dispatches.map(({ place }) => place);
    assert.deepEqual(places.toSorted(), ["(partition=0, offset=1)", "(partition=1, offset=0)"]);
    await until("the commit", async () => (await scene.committed()) === 3);
    await Promise.all([runMarker(scene, 0), runMarker(scene, 1)]);
    await assertRanOnce(scene, id, 3);
  });

  test("mode 9: one id in many messages at two workers: one execution", async (t) => {
    const scene = await setScene(t);
    const workers = await Promise.all([scene.startWorker(), scene.startWorker()]);
    await until("each worker to own one partition", () => {
      const owned = workers.map(partitionsOf);
      return owned.every(({ length }) => length === 1) && owned[0]?.[0] !== owned[1]?.[0];
    });
    const id = await scene.seed({ batches: 3, partition: 0 });
    await scene.produce(
      ...Array.from({ length: 39 }, (_, i) => ({ key: id, value: id, partition: (i + 1) % 2 })),
    );
    await until("the completion", () => scene.completionsOf(id).length > 0);
    await until("the commit", async () => (await scene.committed()) === 40);
    assert.deepEqual(
      workers.map((worker) => outcomesOf(worker, id).length),
      [20, 20],
    );
    const outcomes = workers.flatMap((worker) => outcomesOf(worker, id));
    assert.equal(outcomes.filter((outcome) => outcome === "kicked off").length, 1);
    await Promise.all([runMarker(scene, 0), runMarker(scene, 1)]);
    await assertRanOnce(scene, id, 3);
  });
});
