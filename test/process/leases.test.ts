import assert from "node:assert/strict";
import { suite, test } from "node:test";
import { startProxy } from "../../src/demo/start-proxy.ts";
import { setScene as setDeletionScene } from "../helpers/deletion-scene.ts";
import { dispatchesOf } from "../helpers/dispatches.ts";
import { effectsOnce, jobs, keysOf } from "../helpers/job-scene.ts";
import { holdAt, isStep } from "../helpers/protocol.ts";
import { partitionsOf, until, within } from "../helpers/scene.ts";

/**
 * The server sends each message to one of two workers at random, and one that went to the frozen one again after a
 * retry timeout.
 */
const TAKEOVER_MS = 120_000;

/** The worker renews a lease three times as often as it lasts. */
const HEARTBEATS_PER_LEASE = 3;

/** Long enough for the steps that are not held, on a busy machine. */
const LEASE_MS = 2000;

suite("leases", { concurrency: 3, timeout: 180_000 }, () => {
  for (const job of jobs) {
    const { name, steps, counted, setScene } = job;
    for (const [nth, position] of [
      ["first", 0],
      ["second", 1],
    ] as const) {
      // The first begins in the process that dispatched the message, the second comes to a worker as a message.
      test(`mode 10: a step that lasts several leases runs once: the ${nth} of a message (${name})`, async (t) => {
        const scene = await setScene(t, { LEASE_TTL_MS: String(LEASE_MS) });
        const workers = await Promise.all([scene.startWorker(), scene.startWorker()]);
        const names = await Promise.all(workers.map((worker) => worker.ready));
        let heldTask: string | undefined;
        let heartbeats = 0;
        const acquiredBy: string[] = [];
        const begun: string[] = [];
        const held = holdAt(
          scene.proxy,
          (passing) => isStep(steps[position], "end", keysOf(job, passing.recordId)[position])(passing),
          {
            before: ({ request, step }) => {
              if (step?.phase === "begin") begun.push(step.key);
              if (request.kind === "task.acquire" && heldTask !== undefined)
                acquiredBy.push(request.data.pid);
            },
            after: ({ request }, status) => {
              if (request.kind !== "task.heartbeat" || status !== 200) return;
              if (request.data.tasks.some(({ id }) => id === heldTask)) heartbeats += 1;
            },
          },
        );
        const id = await scene.seedOne();
        const { passing, at, release } = await within("the long step", held, 60_000);
        heldTask = id;
        assert.equal(passing.recordId, id);
        const done = steps.slice(0, position + 1).filter((step) => step === counted).length;
        assert.deepEqual(await scene.effectsOf(id), effectsOnce(job, id).slice(0, done));
        assert.ok(passing.worker !== undefined && names.includes(passing.worker));

        await until("three leases to pass", () => Date.now() - at >= 3 * LEASE_MS);
        assert.ok(heartbeats >= 3, `each was renewed: ${heartbeats} heartbeats`);
        assert.deepEqual(acquiredBy, [], "nobody was given the execution meanwhile");
        heldTask = undefined;
        assert.equal(await release(), 200, "its checkpoint is taken");

        await until("the completion", () => scene.completionsOf(id).length > 0);
        assert.deepEqual(await scene.effectsOf(id), effectsOnce(job, id));
        assert.deepEqual(begun, keysOf(job, id), "each step is begun once");
        assert.equal(scene.completionsOf(id).length, 1);
      });
    }
  }

  test("mode 11: a frozen worker that thaws after its lease deletes nothing more of the record and goes on working", async (t) => {
    const scene = await setDeletionScene(t);
    // For one worker alone, so that its requests can be held while the other's pass.
    const desk = scene.resources.use(await startProxy(scene.proxy.url));
    const [frozen, other] = await Promise.all([
      scene.startWorker({ RESONATE_URL: desk.url }),
      scene.startWorker(),
    ]);
    const [frozenName, otherName] = await Promise.all([frozen.ready, other.ready]);
    await until("each worker to own one partition", () => {
      const [own, others] = [frozen, other].map(partitionsOf);
      return own?.length === 1 && others?.length === 1 && own[0] !== others[0];
    });
    const partition = partitionsOf(frozen)[0] ?? 0;

    const held = holdAt(desk, isStep("deleteBatch", "end"));
    const id = await scene.seed({ batches: 2, partition });
    const { passing, release } = await within("a step at the worker to be frozen", held);
    assert.equal(passing.recordId, id);
    const step = isStep("deleteBatch", "end");
    const heldAtOther = holdAt(
      scene.proxy,
      async (own) => step(own) && (await scene.entriesOf(id)).some(({ worker }) => worker === otherName),
    );
    assert.ok(frozen.kill("SIGSTOP"));
    // Its connections stay open, so the server goes on sending to it: what it sends is lost, and sent again.
    const frozenAt = Date.now();
    assert.deepEqual(
      (await scene.entriesOf(id)).map(({ worker }) => worker),
      [frozenName],
    );
    const atOther = await within("the second batch, at the other worker", heldAtOther, TAKEOVER_MS);
    assert.equal(atOther.passing.recordId, id);
    const takenOverMs = atOther.at - frozenAt;
    // The last heartbeat may have been sent a third of a lease before.
    const leaseLeftMs = scene.settings.LEASE_TTL_MS * (1 - 1 / HEARTBEATS_PER_LEASE);
    assert.ok(takenOverMs >= leaseLeftMs - 100, `taken over after ${takenOverMs} ms, before the lease's end`);

    assert.ok(frozen.kill("SIGCONT"));
    assert.equal(await within("an answer", release()), 409, "the checkpoint of the thawed worker is refused");
    assert.equal(scene.completionsOf(id).length, 0, "the other worker is at work still");
    assert.equal(await within("an answer", atOther.release()), 200, "the other worker's is taken");
    await until("the completion", () => scene.completionsOf(id).length > 0);

    // Whichever partition it is given now: in the end it deletes again.
    let after = "";
    await until(
      "a record that the thawed worker deletes",
      async () => {
        const next = await scene.seed({ batches: 1, partition });
        await until("the completion of a later record", () => scene.completionsOf(next).length > 0);
        after = next;
        return (await scene.entriesOf(next))[0]?.worker === frozenName;
      },
      45_000,
    );
    assert.equal(dispatchesOf(frozen, after).length, 1);
    assert.deepEqual(
      (await scene.entriesOf(id)).map(({ batch, worker, repeats }) => [batch, worker, repeats]),
      [
        [0, frozenName, 1],
        [1, otherName, 0],
      ],
    );
    assert.equal(scene.completionsOf(id).length, 1);
    assert.equal(await scene.records.countRows(), 0);
  });
});
