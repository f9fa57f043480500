import assert from "node:assert/strict";
import { suite, test } from "node:test";
import { setTimeout } from "node:timers/promises";
import { watchRunningSteps } from "../../src/demo/running-steps.ts";
import type { WorkerProcess } from "../../src/demo/worker-process.ts";
import { IDEMPOTENCY_KEY_HEADER } from "../../src/worker/publish.ts";
import { follow, holdAt, isStep, type Passing } from "../helpers/protocol.ts";
import { linesWith, partitionsOf, type Scene, setScene, until, within } from "../helpers/scene.ts";

const endsDelete = isStep("deleteBatch", "end");

/** When executions were handed back by one worker, and how long it took until another asked for them. */
const watchHandover = (from: string) => {
  const releasedAt = new Map<string, number>();
  const askedAt = new Map<Passing["request"], number>();
  const takenMs = new Map<string, number>();
  return {
    takenMs,
    releasedAt,
    before: ({ request }: Passing) => {
      if (request.kind === "task.acquire") askedAt.set(request, Date.now());
    },
    after: ({ request, worker }: Passing, status: number) => {
      if (status !== 200) return;
      if (request.kind === "task.release" && worker === from) releasedAt.set(request.data.id, Date.now());
      if (request.kind !== "task.acquire" || worker === from) return;
      const { id } = request.data;
      const [released, asked] = [releasedAt.get(id), askedAt.get(request)];
      if (released === undefined || asked === undefined || takenMs.has(id)) return;
      // The other may ask before the answer to the release is back here.
      takenMs.set(id, Math.max(0, asked - released));
    },
  };
};

/** The real server looks for what it has to send every 100 ms, the embedded one at once. */
const handoverLimitMs = ({ embedded }: Scene) => (embedded ? 1000 : 1500);

const startPair = async (scene: Scene): Promise<[WorkerProcess, WorkerProcess]> => {
  const pair: [WorkerProcess, WorkerProcess] = await Promise.all([scene.startWorker(), scene.startWorker()]);
  await until("each worker to own one partition", () => {
    const owned = pair.map(partitionsOf);
    return owned.every(({ length }) => length === 1) && owned[0]?.[0] !== owned[1]?.[0];
  });
  return pair;
};

const assertExact = (scene: Scene, records: ReadonlyMap<string, number>) => {
  for (const [id, batches] of records) {
    const own = scene.records.ledger().filter(({ recordId }) => recordId === id);
    assert.deepEqual(
      own.map(({ batch }) => batch),
      Array.from({ length: batches }, (_, batch) => batch),
      `batches of ${id}`,
    );
  }
  assert.equal(scene.records.countRows(), 0);
};

/** The records of which a completion came more than once. */
const findRepeats = (scene: Scene, ids: Iterable<string>) =>
  [...ids].filter((id) => scene.completionsOf(id).length > 1);

suite("stops", { concurrency: 3, timeout: 180_000 }, () => {
  test("mode 12: a worker that is told to stop under load hands its records over at once", async (t) => {
    const scene = await setScene(t, { LEASE_TTL_MS: "10000" });
    const [leaving, staying] = await startPair(scene);
    const [leavingName, stayingName] = await Promise.all([leaving.ready, staying.ready]);
    const handover = watchHandover(leavingName);
    const held = holdAt(
      scene.proxy,
      (passing) =>
        endsDelete(passing) && passing.worker === leavingName && scene.batchesOf(passing.recordId) === 2,
      handover,
    );
    const records = new Map<string, number>();
    for (let i = 0; i < 12; i++) records.set(await scene.seed({ batches: 4, partition: i % 2 }), 4);
    const { passing, release } = await within("a step at the worker that is to stop", held);

    leaving.kill("SIGTERM");
    const stoppedAt = Date.now();
    const [stopping] = await until("the worker to stop", () => {
      const lines = linesWith(leaving, "stopping: ");
      return lines.length > 0 && lines;
    });
    assert.match(stopping ?? "", /stopping: [1-9]\d* executions/, "an execution ran when the signal came");
    assert.ok(records.size > scene.completions.length, "it stops under load");
    assert.equal(await within("an answer", release()), 200, "its running step may end");
    assert.equal(await within("the worker's end", leaving.exited), 0);
    const exitMs = Date.now() - stoppedAt;
    // Consumer, producer and SDK have up to 2 s each to close.
    assert.ok(exitMs <= scene.config.SHUTDOWN_GRACE_MS + 6000, `ended after ${exitMs} ms`);

    // A message on its way to a connection that closes is lost, and the server sends it again after 30 s.
    await until(
      "every completion",
      () => [...records.keys()].every((id) => scene.completionsOf(id).length > 0),
      60_000,
    );
    assert.ok(handover.releasedAt.has(passing.recordId), "the running execution was handed back");
    for (const id of handover.releasedAt.keys()) {
      const ms = handover.takenMs.get(id);
      assert.ok(ms !== undefined && ms <= handoverLimitMs(scene), `${id} went on ${ms} ms after its release`);
    }
    assertExact(scene, records);
    const ledger = scene.records.ledger();
    assert.equal(ledger.filter(({ repeats }) => repeats > 0).length, 0, "no step is repeated");
    assert.deepEqual(findRepeats(scene, records.keys()), []);
    assert.deepEqual(
      ledger
        .filter(({ recordId, batch }) => recordId === passing.recordId && batch >= 2)
        .map(({ worker }) => worker),
      [stayingName, stayingName],
      "it went on with the next step",
    );
  });

  test("mode 12: a step that does not end in the time given is handed over, too, and the worker ends", async (t) => {
    const scene = await setScene(t, { LEASE_TTL_MS: "10000", SHUTDOWN_GRACE_MS: "500" });
    const [leaving, staying] = await startPair(scene);
    const [leavingName, stayingName] = await Promise.all([leaving.ready, staying.ready]);
    const handover = watchHandover(leavingName);
    const held = holdAt(
      scene.proxy,
      (passing) => endsDelete(passing) && passing.worker === leavingName,
      handover,
    );
    const id = await scene.seed({ batches: 2, partition: partitionsOf(leaving)[0] ?? 0 });
    const { release } = await within("a step at the worker that is to stop", held);

    leaving.kill("SIGTERM");
    const stoppedAt = Date.now();
    assert.equal(await within("the worker's end", leaving.exited), 0);
    const exitMs = Date.now() - stoppedAt;
    assert.ok(exitMs <= scene.config.SHUTDOWN_GRACE_MS + 6000, `ended after ${exitMs} ms`);
    const takenMs = await until("the other worker to take it", () => handover.takenMs.get(id));
    assert.ok(takenMs <= handoverLimitMs(scene), `${id} went on ${takenMs} ms after its release`);
    assert.equal(
      await within("an answer", release()),
      409,
      "what the old worker had still to say is refused",
    );

    await until("the completion", () => scene.completionsOf(id).length > 0);
    assert.deepEqual(
      scene.records.ledger().map(({ batch, worker, repeats }) => [batch, worker, repeats]),
      [
        [0, leavingName, 1],
        [1, stayingName, 0],
      ],
    );
  });

  for (const [signal, code] of [
    ["SIGTERM", 143],
    ["SIGINT", 130],
  ] as const) {
    test(`a second ${signal} ends a worker at once, with exit code ${code}`, async (t) => {
      // A lease that ends while no worker is there goes to one only 30 s later: this one lasts until the next is up.
      const scene = await setScene(t, { SHUTDOWN_GRACE_MS: "60000", LEASE_TTL_MS: "5000" });
      const worker = await scene.startWorker();
      const held = holdAt(scene.proxy, endsDelete);
      const id = await scene.seed({ batches: 2 });
      assert.equal((await within("a step", held)).passing.recordId, id);
      worker.kill(signal);
      await until("the worker to stop", () => linesWith(worker, "stopping: 1 executions").length > 0);
      worker.kill(signal);
      assert.equal(await within("the worker's end", worker.exited, 10_000), code);
      assert.equal(scene.batchesOf(id), 1, "its step was running until then");

      await scene.startWorker();
      await until("the completion", () => scene.completionsOf(id).length > 0, 60_000);
      assertExact(scene, new Map([[id, 2]]));
      assert.equal(scene.records.ledger()[0]?.repeats, 1, "the checkpoint of that step was never written");
    });
  }

  test("mode 13: workers that join, leave and die under load lose nothing and double nothing", async (t) => {
    const scene = await setScene(t, { TOPIC_PARTITIONS: "4" });
    const records = new Map<string, number>();
    const endOfLoad = new AbortController();
    t.after(() => endOfLoad.abort());
    const keepProducing = async () => {
      for (let i = 0; !endOfLoad.signal.aborted; i++) {
        const batches = 1 + (i % 3);
        records.set(await scene.seed({ batches, partition: i % 4 }), batches);
        await setTimeout(150);
      }
    };
    const load = keepProducing();
    load.catch(() => {});
    const allOwned = (workers: readonly WorkerProcess[]) => () => {
      const owned = workers.map(partitionsOf);
      return owned.every(({ length }) => length > 0) && owned.flat().toSorted().join() === "0,1,2,3";
    };
    const deletes = async (worker: WorkerProcess) => {
      const name = await worker.ready;
      await until(`batches of worker ${name}`, () =>
        scene.records.ledger().some((entry) => entry.worker === name),
      );
    };

    const steps = watchRunningSteps();
    const watch = {
      after: ({ request }: Passing, status: number) => steps.onAnswer(request, status),
    };
    follow(scene.proxy, watch);
    const first = await scene.startWorker();
    await deletes(first);
    const [second, third] = await Promise.all([scene.startWorker(), scene.startWorker()]);
    await until("three workers to share the partitions", allOwned([first, second, third]), 60_000);
    await Promise.all([deletes(second), deletes(third)]);

    const [firstName, secondName] = await Promise.all([first.ready, second.ready]);
    const heldAt = (name: string) =>
      within(
        `a step at worker ${name}`,
        holdAt(scene.proxy, (passing) => endsDelete(passing) && passing.worker === name, watch),
      );
    const { release } = await heldAt(secondName);
    second.kill("SIGTERM");
    await until("the second worker to stop", () => linesWith(second, "stopping: ").length > 0);
    assert.equal(await within("an answer", release()), 200);
    assert.equal(await within("the second worker's end", second.exited), 0);
    await until("two workers to share the partitions", allOwned([first, third]), 60_000);

    // Held for good: the checkpoint is lost with the worker.
    const cut = await heldAt(firstName);
    first.kill("SIGKILL");
    assert.equal(await first.exited, "SIGKILL");
    const unconfirmed = steps
      .at(firstName)
      .filter(({ name }) => name === "enqueueCompletion")
      .map(({ recordId }) => recordId);
    const fourth = await scene.startWorker();
    await until("two workers to share the partitions again", allOwned([third, fourth]), 60_000);
    await deletes(fourth);
    endOfLoad.abort();
    await load;

    await until(
      "every completion",
      () => [...records.keys()].every((id) => scene.completionsOf(id).length > 0),
      60_000,
    );
    await until("the commit of all", async () => (await scene.committed()) === records.size);
    const joins = [first, second, third, fourth].map((own) => linesWith(own, "joined consumer group").length);
    // first: alone, with two more, without the second. third: also without the first and with the fourth.
    assert.ok((joins[0] ?? 0) >= 3 && (joins[2] ?? 0) >= 3, `rebalances: ${joins}`);
    assertExact(scene, records);
    assert.ok(
      scene.records
        .ledger()
        .some(({ recordId, repeats }) => recordId === cut.passing.recordId && repeats > 0),
      "the cut batch was answered from the ledger",
    );
    for (const id of records.keys()) {
      const stepIds = scene.completionsOf(id).map(({ headers }) => String(headers?.[IDEMPOTENCY_KEY_HEADER]));
      assert.equal(new Set(stepIds).size, 1, `executions of ${id}`);
    }
    assert.deepEqual(
      findRepeats(scene, records.keys()).filter((id) => !unconfirmed.includes(id)),
      [],
      "completions come again only where the kill fell before their checkpoint",
    );
    assert.equal(scene.deadLetters.length, 0);
  });
});
