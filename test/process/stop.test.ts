import assert from "node:assert/strict";
import { suite, test } from "node:test";
import { setTimeout } from "node:timers/promises";
import type { WorkerProcess } from "../../src/demo/worker-process.ts";
import { IDEMPOTENCY_KEY_HEADER } from "../../src/worker/publish.ts";
import { type DeletionScene, setScene as setDeletionScene } from "../helpers/deletion-scene.ts";
import { effectsOnce, jobs, keysOf } from "../helpers/job-scene.ts";
import { countExecutions, follow, holdAt, isStep, type Passing } from "../helpers/protocol.ts";
import { linesWith, partitionsOf, type Scene, until, within } from "../helpers/scene.ts";

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

/** Consumer, producer and SDK have up to 2 s each to close. */
const exitLimitMs = ({ settings }: Scene) => settings.SHUTDOWN_GRACE_MS + 6000;

const startPair = async (scene: Scene): Promise<[WorkerProcess, WorkerProcess]> => {
  const pair: [WorkerProcess, WorkerProcess] = await Promise.all([scene.startWorker(), scene.startWorker()]);
  await until("each worker to own one partition", () => {
    const owned = pair.map(partitionsOf);
    return owned.every(({ length }) => length === 1) && owned[0]?.[0] !== owned[1]?.[0];
  });
  return pair;
};

const assertExact = async (scene: DeletionScene, records: ReadonlyMap<string, number>) => {
  for (const [id, batches] of records) {
    assert.deepEqual(
      (await scene.entriesOf(id)).map(({ batch }) => batch),
      Array.from({ length: batches }, (_, batch) => batch),
      `batches of ${id}`,
    );
  }
  assert.equal(await scene.records.countRows(), 0);
};

/** Sends another signal to a worker that stops, late enough not to be taken for the first one, passed on twice. */
const signalAgain = async (worker: WorkerProcess, signal: NodeJS.Signals) => {
  const stoppingAt = Date.now();
  await until("a second signal to count", () => Date.now() - stoppingAt > 600);
  assert.ok(worker.kill(signal), "it has not ended by itself");
};

/** The messages of which a completion came more than once. */
const findRepeats = (scene: Scene, ids: Iterable<string>) =>
  [...ids].filter((id) => scene.completionsOf(id).length > 1);

suite("stops", { concurrency: 3, timeout: 180_000 }, () => {
  for (const job of jobs) {
    const { name, steps, setScene } = job;
    const [first, second] = steps;

    test(`mode 12: a worker that is told to stop under load hands its executions over at once (${name})`, async (t) => {
      const scene = await setScene(t, { LEASE_TTL_MS: "10000" });
      const [leaving, staying] = await startPair(scene);
      const [leavingName, stayingName] = await Promise.all([leaving.ready, staying.ready]);
      const handover = watchHandover(leavingName);
      const begunBy = new Map<string, string | undefined>();
      const held = holdAt(
        scene.proxy,
        (passing) =>
          passing.worker === leavingName && isStep(second, "end", keysOf(job, passing.recordId)[1])(passing),
        {
          ...handover,
          before: (passing) => {
            handover.before(passing);
            if (passing.step?.phase === "begin") begunBy.set(passing.step.key, passing.worker);
          },
        },
      );
      const ids: string[] = [];
      for (let i = 0; i < 12; i++) ids.push(await scene.seedOne(i % 2));
      const { passing, release } = await within("a step at the worker that is to stop", held);

      leaving.kill("SIGTERM");
      const stoppedAt = Date.now();
      await until("the worker to stop", () => linesWith(leaving, "stopping: ").length > 0);
      assert.ok(ids.length > scene.completions.length, "it stops under load");
      assert.equal(await within("an answer", release()), 200, "its running step may end");
      assert.equal(await within("the worker's end", leaving.exited), 0);
      const exitMs = Date.now() - stoppedAt;
      assert.ok(exitMs <= exitLimitMs(scene), `ended after ${exitMs} ms`);

      // A message on its way to a connection that closes is lost, and the server sends it again later.
      await until("every completion", () => ids.every((id) => scene.completionsOf(id).length > 0), 60_000);
      assert.ok(handover.releasedAt.has(passing.recordId), "the running execution was handed back");
      for (const id of handover.releasedAt.keys()) {
        const ms = handover.takenMs.get(id);
        const limit = handoverLimitMs(scene);
        assert.ok(ms !== undefined && ms <= limit, `${id} went on ${ms} ms after its release`);
      }
      for (const id of ids)
        assert.deepEqual(await scene.effectsOf(id), effectsOnce(job, id), "nothing is repeated");
      assert.deepEqual(findRepeats(scene, ids), []);
      const [next = ""] = keysOf(job, passing.recordId).slice(2);
      assert.equal(begunBy.get(next), stayingName, "the other worker went on with the next step");
    });

    test(`mode 12: a step that does not end in the time given is handed over, too, and the worker ends (${name})`, async (t) => {
      const scene = await setScene(t, { LEASE_TTL_MS: "10000", SHUTDOWN_GRACE_MS: "500" });
      const [leaving] = await startPair(scene);
      const leavingName = await leaving.ready;
      const handover = watchHandover(leavingName);
      const held = holdAt(
        scene.proxy,
        (passing) => isStep(first, "end")(passing) && passing.worker === leavingName,
        handover,
      );
      const id = await scene.seedOne(partitionsOf(leaving)[0] ?? 0);
      const { release } = await within("a step at the worker that is to stop", held);

      leaving.kill("SIGTERM");
      const stoppedAt = Date.now();
      assert.equal(await within("the worker's end", leaving.exited), 0);
      const exitMs = Date.now() - stoppedAt;
      assert.ok(exitMs <= exitLimitMs(scene), `ended after ${exitMs} ms`);
      const takenMs = await until("the other worker to take it", () => handover.takenMs.get(id));
      assert.ok(takenMs <= handoverLimitMs(scene), `${id} went on ${takenMs} ms after its release`);
      assert.equal(
        await within("an answer", release()),
        409,
        "what the old worker had still to say is refused",
      );

      await until("the completion", () => scene.completionsOf(id).length > 0);
      assert.deepEqual(
        await scene.effectsOf(id),
        effectsOnce(job, id, { 0: 1 }),
        "the cut step was asked for again",
      );
      assert.equal(scene.completionsOf(id).length, 1);
    });
  }

  test("mode 12: steps that wait for room or for their next try are handed over at once, beside one that may end", async (t) => {
    const latencyMs = 5000;
    const scene = await setDeletionScene(t, {
      LEASE_TTL_MS: "60000",
      SHUTDOWN_GRACE_MS: "60000",
      RETRY_DELAY_MS: "30000",
    });
    const begun = new Set<string>();
    follow(scene.proxy, {
      after: (passing) => void (isStep("deleteBatch", "begin")(passing) && begun.add(passing.recordId)),
    });
    const leaving = await scene.startWorker({
      STEP_CONCURRENCY: "1",
      SIMULATED_LATENCY_MS: String(latencyMs),
      SIMULATED_FAILURE_RATE: "0.999999",
    });
    await leaving.ready;
    const paused = await scene.seed({ batches: 1 });
    const failures = () => linesWith(leaving, ` failed (attempt 1), next try in 30 s`).length;
    await until("a step to wait for its next try", () => failures() === 1);
    const staying = await scene.startWorker({ TAKE_MESSAGES: "no" });
    await staying.ready;
    const [running, waiting] = [await scene.seed({ batches: 1 }), await scene.seed({ batches: 1 })];
    await until("the others to begin", () => begun.size === 3);

    leaving.kill("SIGTERM");
    const stoppedAt = performance.now();
    const isDone = (id: string) => scene.completionsOf(id).length > 0;
    await until("what waits to be done elsewhere", () => [paused, waiting].every(isDone), latencyMs);
    assert.ok(
      !isDone(running) && linesWith(leaving, "another worker tries next").length === 0,
      "one still runs",
    );
    assert.equal(await within("the worker's end", leaving.exited), 0);
    const ms = performance.now() - stoppedAt;
    assert.ok(
      ms < latencyMs + 3000,
      `expected its end with the step that ran, got it after ${Math.round(ms)} ms`,
    );
    assert.equal(linesWith(leaving, "another worker tries next").length, 1);
    assert.equal(failures(), 1, "none was tried again");
    await until("the last one to be done elsewhere", () => isDone(running));
  });

  for (const [signal, code] of [
    ["SIGTERM", 143],
    ["SIGINT", 130],
  ] as const) {
    test(`a second ${signal} ends a worker at once, with exit code ${code}`, async (t) => {
      // A lease that ends while no worker is there goes to one only later: this one lasts until the next is up.
      const scene = await setDeletionScene(t, { SHUTDOWN_GRACE_MS: "60000", LEASE_TTL_MS: "5000" });
      const worker = await scene.startWorker();
      const held = holdAt(scene.proxy, isStep("deleteBatch", "end"));
      const id = await scene.seed({ batches: 2 });
      assert.equal((await within("a step", held)).passing.recordId, id);
      worker.kill(signal);
      await until("the worker to stop", () => linesWith(worker, "stopping: no step is running").length > 0);
      await signalAgain(worker, signal);
      assert.equal(await within("the worker's end", worker.exited, 10_000), code);
      assert.equal(await scene.batchesOf(id), 1, "the checkpoint of its step was on its way until then");

      await scene.startWorker();
      await until("the completion", () => scene.completionsOf(id).length > 0, 60_000);
      await assertExact(scene, new Map([[id, 2]]));
      assert.equal(
        (await scene.records.ledger())[0]?.repeats,
        1,
        "the checkpoint of that step was never written",
      );
    });
  }

  test("a step that runs when a worker is told to stop may end, unless a second signal comes", async (t) => {
    const scene = await setDeletionScene(t, { SHUTDOWN_GRACE_MS: "60000", LEASE_TTL_MS: "5000" });
    const slow = await scene.startWorker({ SIMULATED_LATENCY_MS: "60000" });
    const id = await scene.seed({ batches: 1 });
    await until("the step", () => linesWith(slow, `processing record ${id} `).length > 0);
    slow.kill("SIGTERM");
    await until(
      "the worker to stop",
      () => linesWith(slow, "stopping: 1 running steps may end first").length > 0,
    );
    await signalAgain(slow, "SIGTERM");
    assert.equal(await within("the worker's end", slow.exited, 10_000), 143);
    assert.equal(await scene.batchesOf(id), 0, "its step was running until then");

    const patient = await scene.startWorker({ SIMULATED_LATENCY_MS: "2000" });
    await until("the step", () => linesWith(patient, `processing record ${id} `).length > 0);
    patient.kill("SIGTERM");
    await until(
      "the worker to stop",
      () => linesWith(patient, "stopping: 1 running steps may end first").length > 0,
    );
    assert.equal(await within("the worker's end", patient.exited), 0);
    await assertExact(scene, new Map([[id, 1]]));

    await scene.startWorker();
    await until("the completion", () => scene.completionsOf(id).length > 0, 60_000);
    await assertExact(scene, new Map([[id, 1]]));
    assert.equal((await scene.records.ledger())[0]?.repeats, 0, "the checkpoint of that step was written");
  });

  test("mode 13: workers that join, leave and die under load lose nothing and double nothing", async (t) => {
    const scene = await setDeletionScene(t, { TOPIC_PARTITIONS: "4" });
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
      await until(`batches of worker ${name}`, async () =>
        (await scene.records.ledger()).some((entry) => entry.worker === name),
      );
    };

    const executions = countExecutions();
    follow(scene.proxy, executions);
    const first = await scene.startWorker();
    await deletes(first);
    const [second, third] = await Promise.all([scene.startWorker(), scene.startWorker()]);
    await until("three workers to share the partitions", allOwned([first, second, third]), 60_000);
    await Promise.all([deletes(second), deletes(third)]);

    const [firstName, secondName] = await Promise.all([first.ready, second.ready]);
    const heldAt = (name: string) =>
      within(
        `a step at worker ${name}`,
        holdAt(
          scene.proxy,
          (passing) => isStep("deleteBatch", "end")(passing) && passing.worker === name,
          executions,
        ),
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
    const unconfirmed = executions
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
    await assertExact(scene, records);
    assert.ok(
      (await scene.records.ledger()).some(
        ({ recordId, repeats }) => recordId === cut.passing.recordId && repeats > 0,
      ),
      "the cut batch was answered from the ledger",
    );
    for (const id of records.keys()) {
      assert.equal(executions.executionsWith("enqueueCompletion", id), 1, `executions of ${id}`);
      const keys = scene.completionsOf(id).map(({ headers }) => String(headers?.[IDEMPOTENCY_KEY_HEADER]));
      assert.equal(new Set(keys).size, 1, `keys of the completions of ${id}`);
    }
    assert.deepEqual(
      findRepeats(scene, records.keys()).filter((id) => !unconfirmed.includes(id)),
      [],
      "completions come again only where the kill fell before their checkpoint",
    );
    assert.equal(scene.deadLetters.length, 0);
  });
});
