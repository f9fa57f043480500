import assert from "node:assert/strict";
import { suite, type TestContext, test } from "node:test";
import { startResonateProxy } from "../../src/demo/resonate-proxy.ts";
import { holdAt, isStep } from "../helpers/protocol.ts";
import { linesWith, partitionsOf, type Scene, setScene, until, within } from "../helpers/scene.ts";

/** A proxy before the scene's, for one worker alone. */
const startOwnProxy = async (t: TestContext, target: string) => {
  const proxy = await startResonateProxy(target);
  t.after(() => proxy.close());
  return proxy;
};

const entriesOf = ({ records }: Scene, id: string) =>
  records.ledger().filter(({ recordId }) => recordId === id);

/** The worker renews a lease three times as often as it lasts. */
const HEARTBEATS_PER_LEASE = 3;

suite("leases", { concurrency: 3, timeout: 180_000 }, () => {
  for (const [nth, batch] of [
    ["first", 0],
    ["second", 1],
  ] as const) {
    // The first begins in the process that dispatched the message, the second comes to a worker as a message.
    test(`mode 10: a step that lasts several leases runs once: the ${nth} of a record`, async (t) => {
      const scene = await setScene(t, { LEASE_TTL_MS: "1000" });
      const workers = await Promise.all([scene.startWorker(), scene.startWorker()]);
      const names = await Promise.all(workers.map((worker) => worker.ready));
      let heldTask: string | undefined;
      let heartbeats = 0;
      const acquiredBy: string[] = [];
      const step = isStep("deleteBatch", "end");
      const held = holdAt(
        scene.proxy,
        (passing) => step(passing) && scene.batchesOf(passing.recordId) === batch + 1,
        {
          before: ({ request }) => {
            if (request.kind === "task.acquire" && heldTask !== undefined) acquiredBy.push(request.data.pid);
          },
          after: ({ request }, status) => {
            if (request.kind !== "task.heartbeat" || status !== 200) return;
            if (request.data.tasks.some(({ id }) => id === heldTask)) heartbeats += 1;
          },
        },
      );
      const id = await scene.seed({ batches: 3 });
      const { passing, at, release } = await within("the long step", held);
      heldTask = id;
      assert.equal(passing.recordId, id);
      assert.equal(scene.batchesOf(id), batch + 1);
      assert.ok(passing.worker !== undefined && names.includes(passing.worker));

      await until("heartbeats of four leases", () => heartbeats > 4 * HEARTBEATS_PER_LEASE + 1, 9000);
      assert.ok(Date.now() - at >= 4 * scene.config.LEASE_TTL_MS, "the step lasted for four leases");
      assert.deepEqual(acquiredBy, [], "nobody was given the execution meanwhile");
      heldTask = undefined;
      assert.equal(await release(), 200, "its checkpoint is taken");

      await until("the completion", () => scene.completionsOf(id).length > 0);
      assert.deepEqual(
        entriesOf(scene, id).map((entry) => [entry.batch, entry.repeats]),
        [
          [0, 0],
          [1, 0],
          [2, 0],
        ],
      );
      assert.equal(scene.completionsOf(id).length, 1);
    });
  }

  test("mode 11: a frozen worker that thaws after its lease deletes nothing more of the record and goes on working", async (t) => {
    const scene = await setScene(t);
    // In the line of one worker: what it sends is held at the first proxy, while the second can cut its connections
    // to the server as a host that freezes loses them. A server goes on sending to a worker that is connected.
    const wire = await startOwnProxy(t, scene.proxy.url);
    const desk = await startOwnProxy(t, wire.url);
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
      (own) => step(own) && entriesOf(scene, id).some(({ worker }) => worker === otherName),
    );
    assert.ok(frozen.kill("SIGSTOP"));
    const frozenAt = Date.now();
    assert.ok(wire.cut() > 0, "its connections were cut");
    assert.deepEqual(
      entriesOf(scene, id).map(({ worker }) => worker),
      [frozenName],
    );
    const atOther = await within("the second batch, at the other worker", heldAtOther);
    assert.equal(atOther.passing.recordId, id);
    const takenOverMs = atOther.at - frozenAt;
    // The last heartbeat may have been sent a third of a lease before.
    const leaseLeftMs = scene.config.LEASE_TTL_MS * (1 - 1 / HEARTBEATS_PER_LEASE);
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
        return entriesOf(scene, next)[0]?.worker === frozenName;
      },
      45_000,
    );
    assert.equal(linesWith(frozen, `kicked off workflow for record ${after} `).length, 1);
    assert.deepEqual(
      entriesOf(scene, id).map(({ batch, worker, repeats }) => [batch, worker, repeats]),
      [
        [0, frozenName, 1],
        [1, otherName, 0],
      ],
    );
    assert.equal(scene.completionsOf(id).length, 1);
    assert.equal(scene.records.countRows(), 0);
  });
});
