import assert from "node:assert/strict";
import { suite, type TestContext, test } from "node:test";
import { watchTopic } from "../../src/demo/watch-topic.ts";
import type { WorkerProcess } from "../../src/demo/worker-process.ts";
import { withTimeout } from "../../src/support/retry.ts";
import { IDEMPOTENCY_KEY_HEADER } from "../../src/worker/publish.ts";
import { type DeletionScene, setScene } from "../helpers/deletion-scene.ts";
import { beginBrokerOutage, isListening, type Outage, skipBrokerOutage } from "../helpers/outage.ts";
import { countExecutions, follow, isStep } from "../helpers/protocol.ts";
import { until } from "../helpers/scene.ts";

/** Keeps one worker alive as a process supervisor does: one that ends with exit code 1 is started again. */
const supervise = async (scene: DeletionScene) => {
  const workers: WorkerProcess[] = [];
  const exits: (number | NodeJS.Signals)[] = [];
  const start = async () => {
    const worker = await scene.startWorker();
    workers.push(worker);
    const ended = worker.exited.then(async (exit) => {
      exits.push(exit);
      if (exit === 1) await start();
    });
    // A worker that does not start again shows as records that are not completed.
    ended.catch(() => {});
  };
  await start();
  return { exits, lines: () => workers.flatMap(({ lines }) => lines) };
};

/** Takes the broker away for `ms` as a completion is about to be published, and asserts that nothing is lost. */
const rideOut = async (t: TestContext, scene: DeletionScene, ms: number) => {
  const { kafka, settings } = scene;
  const supervised = await supervise(scene);
  const caught = `caught-${settings.KAFKA_GROUP_ID}`;
  const { promise: begun, resolve, reject } = Promise.withResolvers<Outage>();
  const checkpointed = Promise.withResolvers<{ whileDown: boolean }>();
  let wasDown = false;
  const executions = countExecutions();
  follow(scene.proxy, {
    after: executions.after,
    before: async (passing) => {
      if (passing.recordId !== caught) return;
      if (!wasDown && isStep("enqueueCompletion", "begin")(passing)) {
        wasDown = true;
        await beginBrokerOutage(scene, ms).then(resolve, reject);
      }
      if (isStep("enqueueCompletion", "end")(passing)) {
        checkpointed.resolve({ whileDown: !(await isListening(settings.KAFKA_BROKERS[0] ?? "")) });
      }
    },
  });

  const before = await Promise.all(Array.from({ length: 10 }, () => scene.seed({ batches: 5 })));
  await until("the first batches", async () => {
    const started = new Set((await scene.records.ledger()).map(({ recordId }) => recordId));
    return before.every((id) => started.has(id));
  });
  await scene.seed({ batches: 1, recordId: caught });
  const outage = await withTimeout(begun, 30_000, "the outage");
  const downAt = Date.now();
  assert.ok(
    before.some((id) => scene.completionsOf(id).length === 0),
    "executions were in flight",
  );
  const joins = supervised.lines().filter((line) => line.includes("joined consumer group")).length;

  const ended = outage.end();
  t.after(() => ended);
  const meanwhile = Array.from({ length: 5 }, (_, i) => `meanwhile-${i}-${settings.KAFKA_GROUP_ID}`);
  await scene.records.addRows(new Map(meanwhile.map((id) => [id, 2 * settings.BATCH_SIZE])));
  for (const id of meanwhile) {
    // kafkajs gives up before some of these outages end.
    await until(`${id} to be produced`, () =>
      scene.produce({ key: id, value: id }).then(
        () => true,
        () => false,
      ),
    );
  }
  await ended;
  assert.ok(Date.now() - downAt >= ms, "the outage lasted as long as it was to");
  const { whileDown } = await withTimeout(checkpointed.promise, 45_000, "the checkpoint of the completion");
  assert.equal(whileDown, false, "no completion counts as published while the broker is away");

  const after = await Promise.all(Array.from({ length: 5 }, () => scene.seed({ batches: 2 })));
  const all = [...before, caught, ...meanwhile, ...after];
  // A reader of its own: the scene's have lived through the outage.
  const completions = await watchTopic(kafka, settings.TOPIC_COMPLETIONS);
  t.after(() => completions[Symbol.asyncDispose]());
  const keysOf = (id: string) =>
    new Set(
      completions.messages
        .filter(({ key }) => String(key) === id)
        .map(({ headers }) => String(headers?.[IDEMPOTENCY_KEY_HEADER])),
    );
  await until("every completion", () => all.every((id) => keysOf(id).size > 0), 45_000);
  // A send whose answer was lost may have put a message there twice.
  await until("the commit of all", async () => (await scene.committed()) >= all.length, 45_000);
  for (const id of all) {
    assert.equal(keysOf(id).size, 1, `one key for the completions of ${id}`);
    assert.equal(executions.executionsWith("enqueueCompletion", id), 1, `one execution of ${id}`);
  }
  const ledger = await scene.records.ledger();
  assert.equal(ledger.length, 10 * 5 + 1 + 10 * 2);
  assert.ok(ledger.every(({ repeats }) => repeats === 0));
  assert.equal(await scene.records.countRows(), 0);
  assert.ok(
    supervised.exits.every((exit) => exit === 1),
    `ended with ${supervised.exits}`,
  );
  t.diagnostic(`workers that ended and were started again: ${supervised.exits.length}`);
  return {
    rejoined: supervised.lines().filter((line) => line.includes("joined consumer group")).length > joins,
  };
};

// A real broker is one for all: its outages come one after the other.
suite("broker outage", { concurrency: process.env.KAFKA_BROKERS ? 1 : 3 }, () => {
  test("mode 14: the broker is restarted and keeps its log: nothing is lost, and a completion that fell into the outage is published after it", {
    skip: skipBrokerOutage,
  }, async (t) => {
    await rideOut(t, await setScene(t), 2000);
  });

  test("mode 14: the broker is away for longer than the session timeout: the worker joins its group again, and nothing is lost", {
    skip: skipBrokerOutage,
  }, async (t) => {
    const scene = await setScene(t);
    const { rejoined } = await rideOut(t, scene, scene.settings.SESSION_TIMEOUT_MS + 5000);
    assert.ok(rejoined, "the session was over");
  });
});
