import assert from "node:assert/strict";
import { suite, test } from "node:test";
import { IDEMPOTENCY_KEY_HEADER } from "../../src/worker/publish.ts";
import { dispatchesOf } from "../helpers/dispatches.ts";
import { effectsOnce, jobs, keysOf } from "../helpers/job-scene.ts";
import { countExecutions, follow, isStep, killAt, Lost } from "../helpers/protocol.ts";
import { until, within } from "../helpers/scene.ts";

/** A lease that ends while no worker is there goes to one only later: this one lasts until the next is up. */
const untilNextIsUp = { LEASE_TTL_MS: "5000" };

for (const job of jobs) {
  const { name, steps, setScene } = job;
  const [first] = steps;
  const publishes = steps.at(-1) ?? first;

  suite(`crashes of ${name}`, { concurrency: 3, timeout: 180_000 }, () => {
    test(`mode 1: a worker dies between two steps, and another goes on with the next one (${name})`, async (t) => {
      const scene = await setScene(t);
      // It sleeps until the next worker is there.
      const victim = await scene.startWorker({ [job.pause]: "4000" });
      const killed = killAt(scene.proxy, victim, ({ request }) => request.kind === "task.suspend", {
        answered: true,
      });
      const id = await scene.seedOne();
      await killed;
      assert.deepEqual(
        await scene.effectsOf(id),
        effectsOnce(job, id).slice(0, 1),
        "killed after the first step",
      );

      const begun: string[] = [];
      follow(scene.proxy, {
        before: ({ step }) => {
          if (step?.phase === "begin") begun.push(step.key);
        },
      });
      await scene.startWorker();
      await until("the completion", () => scene.completionsOf(id).length > 0);
      assert.deepEqual(await scene.effectsOf(id), effectsOnce(job, id));
      assert.deepEqual(begun, keysOf(job, id).slice(1), "the first step is not begun again");
    });

    test(`mode 2: a worker dies after the last effect, before the completion is published (${name})`, async (t) => {
      const scene = await setScene(t, untilNextIsUp);
      const victim = await scene.startWorker();
      const killed = killAt(scene.proxy, victim, isStep(publishes, "begin"));
      const id = await scene.seedOne();
      await killed;
      assert.deepEqual(await scene.effectsOf(id), effectsOnce(job, id), "killed after the last effect");
      assert.equal(scene.completionsOf(id).length, 0, "killed before the completion");

      await scene.startWorker();
      await until("the completion", () => scene.completionsOf(id).length > 0);
      assert.deepEqual(await scene.effectsOf(id), effectsOnce(job, id));
    });

    test(`mode 3: a worker dies after the completion is published, before its checkpoint: it comes twice, with one idempotency key (${name})`, async (t) => {
      const scene = await setScene(t, untilNextIsUp);
      const victim = await scene.startWorker();
      const killed = killAt(scene.proxy, victim, isStep(publishes, "end"));
      const id = await scene.seedOne();
      const cut = await killed;
      await until("the first completion", () => scene.completionsOf(id).length === 1);

      const finished = Promise.withResolvers<void>();
      const ends: string[] = [];
      follow(scene.proxy, {
        before: ({ request }) => {
          if (request.kind === "task.fence" && request.data.action.kind === "promise.settle")
            ends.push(request.data.action.data.id);
        },
        after: ({ request, recordId }) => {
          if (request.kind === "task.fulfill" && recordId === id) finished.resolve();
        },
      });
      await scene.startWorker();
      await within("the end of the execution", finished.promise, 60_000);
      await until("the repeated completion", () => scene.completionsOf(id).length >= 2);
      assert.deepEqual(ends, [cut.passing.step?.id], "the same execution publishes again, and nothing else");
      const completions = scene.completionsOf(id);
      assert.equal(completions.length, 2);
      const key = keysOf(job, id).at(-1);
      for (const { headers } of completions) assert.equal(String(headers?.[IDEMPOTENCY_KEY_HEADER]), key);
      assert.equal(String(completions[0]?.value), String(completions[1]?.value));
      assert.deepEqual(await scene.effectsOf(id), effectsOnce(job, id));
    });

    test(`mode 7: two workers, one killed in a step: the survivor finishes every message, within the lease and 3 s (${name})`, async (t) => {
      const scene = await setScene(t);
      const workers = await Promise.all([scene.startWorker(), scene.startWorker()]);
      const names = await Promise.all(workers.map((worker) => worker.ready));

      const executions = countExecutions();
      const cut = Promise.withResolvers<{ victim: string; id: string; at: number }>();
      const resumed = Promise.withResolvers<number>();
      let dead: string | undefined;
      follow(scene.proxy, {
        before: async (passing) => {
          const { worker, recordId } = passing;
          if (dead !== undefined || worker === undefined || !isStep(first, "end")(passing)) return;
          dead = worker;
          const victim = workers[names.indexOf(worker)];
          victim?.kill("SIGKILL");
          await victim?.exited;
          cut.resolve({ victim: worker, id: recordId, at: Date.now() });
          throw new Lost("the worker is dead");
        },
        after: async (passing, status) => {
          await executions.after(passing, status);
          const { request, recordId, worker } = passing;
          if (request.kind !== "task.acquire" || dead === undefined || worker === dead) return;
          if (recordId === (await cut.promise).id) resumed.resolve(Date.now());
        },
      });
      const ids = await Promise.all(Array.from({ length: 10 }, () => scene.seedOne()));
      const { victim, id, at } = await within("a step", cut.promise);
      assert.ok(names.includes(victim));

      const takeoverMs = (await within("the takeover", resumed.promise, 60_000)) - at;
      assert.ok(takeoverMs <= scene.settings.LEASE_TTL_MS + 3000, `taken over after ${takeoverMs} ms`);
      await until("every completion", () => ids.every((own) => scene.completionsOf(own).length > 0));
      for (const own of ids) {
        const effects = await scene.effectsOf(own);
        const keys = effectsOnce(job, own).map(({ key }) => key);
        assert.deepEqual(
          effects.map(({ key }) => key),
          keys,
        );
        assert.equal(executions.executionsWith(publishes, own), 1);
      }
      const repeats = (await scene.effectsOf(id)).reduce((sum, effect) => sum + effect.repeats, 0);
      assert.equal(repeats, 1, "the cut step was given its first answer");
      const survivor = workers[1 - names.indexOf(victim)];
      const told = survivor?.log.find(({ msg, recordId }) => recordId === id && msg.startsWith("took over "));
      assert.deepEqual([told?.from, told?.step, told?.key], [victim, first, keysOf(job, id)[0]]);
    });

    test(`mode 8: a worker dies between the durable start and the offset commit (${name})`, async (t) => {
      const scene = await setScene(t, untilNextIsUp);
      const victim = await scene.startWorker();
      const killed = killAt(scene.proxy, victim, ({ request }) => request.kind === "task.create", {
        answered: true,
      });
      const id = await scene.seedOne();
      await killed;
      assert.equal(await scene.committed(), 0, "killed before the commit");
      assert.deepEqual(await scene.effectsOf(id), [], "killed before the first step");

      const second = await scene.startWorker();
      await until("the completion", () => scene.completionsOf(id).length > 0);
      await until("the redelivered message to be dispatched", () => dispatchesOf(second, id).length > 0);
      assert.ok(!dispatchesOf(second, id).some(({ outcome }) => outcome === "kicked off"), "it runs already");
      await until("the commit", async () => (await scene.committed()) === 1);
      assert.deepEqual(await scene.effectsOf(id), effectsOnce(job, id));
      assert.equal(scene.completionsOf(id).length, 1);
    });

    test(`a single worker that is killed and started again finishes what it had begun (${name})`, async (t) => {
      const scene = await setScene(t, untilNextIsUp);
      const victim = await scene.startWorker();
      const killed = killAt(scene.proxy, victim, isStep(first, "end"));
      const id = await scene.seedOne();
      await killed;
      assert.deepEqual(await scene.effectsOf(id), effectsOnce(job, id).slice(0, 1));

      await scene.startWorker();
      await until("the completion", () => scene.completionsOf(id).length > 0);
      assert.deepEqual(
        await scene.effectsOf(id),
        effectsOnce(job, id, { 0: 1 }),
        "its checkpoint was lost, its effect not",
      );
    });
  });
}
