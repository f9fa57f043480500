import assert from "node:assert/strict";
import { test } from "node:test";
import { IDEMPOTENCY_KEY_HEADER } from "../../src/worker/publish.ts";
import { follow, isStep, killAt, Lost } from "../helpers/protocol.ts";
import { setScene, until } from "../helpers/scene.ts";

test("mode 1: a worker dies between two batches, and another goes on with the next one", async (t) => {
  const scene = await setScene(t);
  const first = await scene.startWorker();
  const killed = killAt(scene.proxy, first, ({ request }) => request.kind === "task.suspend", {
    answered: true,
  });
  const id = await scene.seed({ batches: 4 });
  await killed;
  assert.equal(scene.batchesOf(id), 1, "killed after the first batch");

  const second = await scene.startWorker();
  await until("the completion", () => scene.completionsOf(id).length > 0);
  const ledger = scene.records.ledger();
  assert.deepEqual(
    ledger.map(({ batch, repeats }) => [batch, repeats]),
    [0, 1, 2, 3].map((batch) => [batch, 0]),
  );
  assert.equal(scene.records.countRows(), 0);
  assert.ok(
    !second.lines.some((line) => line.includes(`processing record ${id}`)),
    "the first batch is not begun again",
  );
});

test("mode 2: a worker dies after the last batch, before the completion is published", async (t) => {
  const scene = await setScene(t);
  const first = await scene.startWorker();
  const killed = killAt(scene.proxy, first, isStep("enqueueCompletion", "begin"));
  const id = await scene.seed({ batches: 1 });
  await killed;
  assert.equal(scene.records.countRows(), 0, "killed after the last batch");
  assert.equal(scene.completionsOf(id).length, 0, "killed before the completion");

  await scene.startWorker();
  await until("the completion", () => scene.completionsOf(id).length > 0);
  assert.deepEqual(
    scene.records.ledger().map(({ repeats }) => repeats),
    [0],
  );
});

test("mode 3: a worker dies after the completion is published, before its checkpoint: it comes twice, with one step id", async (t) => {
  const scene = await setScene(t);
  const first = await scene.startWorker();
  const killed = killAt(scene.proxy, first, isStep("enqueueCompletion", "end"));
  const id = await scene.seed({ batches: 1 });
  await killed;
  await until("the first completion", () => scene.completionsOf(id).length === 1);

  const finished = Promise.withResolvers<void>();
  follow(scene.proxy, {
    after: ({ request, recordId }) => {
      if (request.kind === "task.fulfill" && recordId === id) finished.resolve();
    },
  });
  await scene.startWorker();
  await finished.promise;
  await until("the repeated completion", () => scene.completionsOf(id).length >= 2);
  const stepIds = scene.completionsOf(id).map(({ headers }) => String(headers?.[IDEMPOTENCY_KEY_HEADER]));
  assert.equal(stepIds.length, 2);
  assert.equal(stepIds[0], stepIds[1]);
});

test("mode 7: two workers, one killed in a step: the survivor finishes every record, within the lease and 3 s", async (t) => {
  const scene = await setScene(t);
  const workers = await Promise.all([scene.startWorker(), scene.startWorker()]);
  const names = await Promise.all(workers.map((worker) => worker.ready));

  const cut = Promise.withResolvers<{ victim: string; id: string; at: number }>();
  const resumed = Promise.withResolvers<number>();
  let dead: string | undefined;
  follow(scene.proxy, {
    before: async ({ step, worker, recordId }) => {
      if (dead !== undefined || step?.name !== "deleteBatch" || step.phase !== "end" || worker === undefined)
        return;
      dead = worker;
      const victim = workers[names.indexOf(worker)];
      victim?.kill("SIGKILL");
      await victim?.exited;
      cut.resolve({ victim: worker, id: recordId, at: Date.now() });
      throw new Lost("the worker is dead");
    },
    after: async ({ request, recordId, worker }) => {
      if (request.kind !== "task.acquire" || dead === undefined || worker === dead) return;
      if (recordId === (await cut.promise).id) resumed.resolve(Date.now());
    },
  });
  const ids = await Promise.all(Array.from({ length: 10 }, () => scene.seed({ batches: 3 })));
  const { victim, id, at } = await cut.promise;
  assert.ok(names.includes(victim));

  const takeoverMs = (await resumed.promise) - at;
  assert.ok(takeoverMs <= scene.config.LEASE_TTL_MS + 3000, `taken over after ${takeoverMs} ms`);
  await until("every completion", () => ids.every((own) => scene.completionsOf(own).length > 0));
  const ledger = scene.records.ledger();
  assert.equal(ledger.length, 30);
  assert.equal(
    ledger.find((entry) => entry.recordId === id)?.repeats,
    1,
    "the cut batch was answered from the ledger",
  );
  assert.equal(scene.records.countRows(), 0);
});

test("mode 8: a worker dies between the durable start and the offset commit", async (t) => {
  const scene = await setScene(t);
  const first = await scene.startWorker();
  const killed = killAt(scene.proxy, first, ({ request }) => request.kind === "task.create", {
    answered: true,
  });
  const id = await scene.seed({ batches: 2 });
  await killed;
  assert.equal(await scene.committed(), 0, "killed before the commit");
  assert.equal(scene.batchesOf(id), 0, "killed before the first batch");

  const second = await scene.startWorker();
  await until("the completion", () => scene.completionsOf(id).length > 0);
  await until("the redelivered message to be dispatched", () =>
    second.lines.some((line) => line.includes(`kicked off workflow for record ${id}`)),
  );
  await until("the commit", async () => (await scene.committed()) === 1);
  assert.equal(scene.batchesOf(id), 2);
  assert.equal(scene.completionsOf(id).length, 1);
});

test("a single worker that is killed and started again finishes what it had begun", async (t) => {
  const scene = await setScene(t);
  const first = await scene.startWorker();
  const killed = killAt(scene.proxy, first, isStep("deleteBatch", "end"));
  const id = await scene.seed({ batches: 3 });
  await killed;
  assert.equal(scene.batchesOf(id), 1);

  const again = await scene.startWorker();
  await until("the completion", () => scene.completionsOf(id).length > 0);
  assert.equal(scene.batchesOf(id), 3);
  assert.equal(scene.records.ledger()[0]?.repeats, 1, "its checkpoint was lost, its rows were not");
  assert.ok(again.lines.some((line) => line.includes("was deleted before a crash")));
});
