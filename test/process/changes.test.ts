import assert from "node:assert/strict";
import { suite, test } from "node:test";
import type { WorkerProcess } from "../../src/demo/worker-process.ts";
import { startFixture } from "../helpers/fixture-job.ts";
import { effectsOnce, type JobScene, type JobUnderTest, jobs } from "../helpers/job-scene.ts";
import { follow } from "../helpers/protocol.ts";
import { linesWith, until, within } from "../helpers/scene.ts";

const RECORDS = 3;
/** Long enough for a worker to be killed, and another started, while everything sleeps. */
const PAUSE_MS = "5000";
/** The longest pause between two tries, and a few messages that go to the wrong one of two workers. */
const TAKEOVER_MS = 90_000;

const jobNamed = (name: string): JobUnderTest => {
  const job = jobs.find((one) => one.name === name);
  assert.ok(job, name);
  return job;
};

/** Seeds messages; resolves once each sleeps after its first step. */
const seedAsleep = async (scene: JobScene): Promise<string[]> => {
  const asleep = new Set<string>();
  follow(scene.proxy, {
    after: ({ request, recordId }, status) => {
      if (request.kind === "task.suspend" && status === 200) asleep.add(recordId);
    },
  });
  const ids = await Promise.all(Array.from({ length: RECORDS }, () => scene.seedOne()));
  await until("all to sleep after their first step", () => ids.every((id) => asleep.has(id)));
  return ids;
};

const assertAllDone = async (scene: JobScene, job: JobUnderTest, ids: readonly string[]) => {
  for (const id of ids) {
    assert.equal(scene.completionsOf(id).length, 1, `completions of ${id}`);
    assert.deepEqual(await scene.effectsOf(id), effectsOnce(job, id));
  }
  assert.deepEqual(scene.deadLetters, []);
};

const effectsOfAll = (scene: JobScene, ids: readonly string[]) =>
  Promise.all(ids.map((id) => scene.effectsOf(id)));

const isDone = (scene: JobScene, ids: readonly string[]) =>
  ids.every((id) => scene.completionsOf(id).length > 0);

const endBy = async (worker: WorkerProcess, signal: NodeJS.Signals, end: number | NodeJS.Signals) => {
  worker.kill(signal);
  assert.equal(await within("the worker's end", worker.exited), end);
};

/** What became of a workflow while its version stayed the same. */
const CHANGES = [
  { job: "deletion", what: "a step is added", file: "deletion-step-added.ts" },
  { job: "deletion", what: "a sleep is added", file: "deletion-sleep-added.ts" },
  { job: "deletion", what: "it continues as new at another place", file: "deletion-continues-at-once.ts" },
  { job: "deletion", what: "its steps are taken out", file: "deletion-ends-at-once.ts" },
  { job: "orders", what: "two steps are swapped", file: "orders-swapped.ts" },
];

suite("changes under running executions", { concurrency: 6, timeout: 600_000 }, () => {
  for (const { job: name, what, file } of CHANGES) {
    test(`mode 29: ${what} in the workflow of ${name} while records sleep: no false completion, and a worker with the old order finishes them`, async (t) => {
      const job = jobNamed(name);
      const scene = await job.setScene(t, { [job.pause]: PAUSE_MS });
      const ids = await (async () => {
        const old = await scene.startWorker();
        const seeded = await seedAsleep(scene);
        await endBy(old, "SIGKILL", "SIGKILL");
        return seeded;
      })();
      const before = await effectsOfAll(scene, ids);
      const changed = await startFixture(scene, file);
      for (const id of ids) {
        await until(`a second try of ${id}`, () =>
          linesWith(changed, `execution ${id} cannot go on here`).some((line) => line.includes("2 s")),
        );
        const [line = ""] = changed.lines.filter(
          (one) => one.includes(id) && one.includes("its order has changed"),
        );
        assert.match(line, /under version 1; give a changed workflow another version/);
      }
      assert.deepEqual([scene.completions, scene.deadLetters], [[], []]);
      assert.deepEqual(await effectsOfAll(scene, ids), before, "nothing was done in the wrong order");

      await scene.startWorker();
      await until("all completions", () => isDone(scene, ids), TAKEOVER_MS);
      await assertAllDone(scene, job, ids);
    });
  }

  for (const name of ["deletion", "orders"]) {
    test(`mode 29: a changed workflow of ${name} is deployed under another version, with records under way, as docs/changing-a-workflow.md says`, async (t) => {
      const job = jobNamed(name);
      const scene = await job.setScene(t, { [job.pause]: PAUSE_MS });
      const first = await scene.startWorker();
      const begunOld = await seedAsleep(scene);
      await endBy(first, "SIGTERM", 0);

      const changed = await startFixture(scene, `${name}-v2.ts`);
      const service = `${name}:${scene.settings.TOPIC_SOURCE}`;
      const waiting = `${RECORDS} executions of ${service} wait for a worker of version 1`;
      await until("the line about what waits", () => linesWith(changed, waiting).length > 0);
      const old = await scene.startWorker({ TAKE_MESSAGES: "no" });
      const begunNew = await Promise.all(Array.from({ length: RECORDS }, () => scene.seedOne()));
      const ids = [...begunOld, ...begunNew];
      await until("all completions", () => isDone(scene, ids), TAKEOVER_MS);
      await assertAllDone(scene, job, ids);
      assert.equal(linesWith(old, "kicked off").length, 0, "the old worker takes no messages");
      await endBy(old, "SIGTERM", 0);

      await endBy(changed, "SIGTERM", 0);
      const last = await startFixture(scene, `${name}-v2.ts`);
      const id = await scene.seedOne();
      await until("a completion without the old worker", () => isDone(scene, [id]), TAKEOVER_MS);
      assert.equal(linesWith(last, "wait for a worker of version").length, 0, "nothing waits any more");
    });
  }

  for (const job of jobs) {
    test(`mode 30: RESONATE_GROUP of ${job.name} is changed in a deploy: the start says where executions wait, and a worker there finishes them`, async (t) => {
      const scene = await job.setScene(t, { [job.pause]: PAUSE_MS });
      const before = await scene.startWorker();
      const ids = await seedAsleep(scene);
      await endBy(before, "SIGKILL", "SIGKILL");

      const moved = await scene.startWorker({ RESONATE_GROUP: `${scene.env.RESONATE_GROUP}-new` });
      const { RESONATE_GROUP: group, TOPIC_SOURCE: topic } = scene.settings;
      const line = `${RECORDS} executions of ${job.name}:${topic} wait in worker group ${group}: start a worker with RESONATE_GROUP=${group}`;
      await until("the line about the other group", () => linesWith(moved, line).length > 0);
      const own = await scene.seedOne();
      await until("a completion in the new group", () => isDone(scene, [own]));
      assert.deepEqual(ids.flatMap(scene.completionsOf), [], "what waits elsewhere is not touched");

      await scene.startWorker();
      await until("all completions", () => isDone(scene, ids), TAKEOVER_MS);
      await assertAllDone(scene, job, [...ids, own]);
    });

    test(`mode 30: TOPIC_SOURCE of ${job.name} is changed in a deploy: the start is refused with whose group it is`, async (t) => {
      const scene = await job.setScene(t, { [job.pause]: PAUSE_MS });
      const before = await scene.startWorker();
      const ids = await seedAsleep(scene);
      await endBy(before, "SIGKILL", "SIGKILL");

      const { RESONATE_GROUP: group, TOPIC_SOURCE: topic } = scene.settings;
      await assert.rejects(
        scene.startWorker({ TOPIC_SOURCE: `${topic}-new` }),
        (error: Error) =>
          error.message.includes(`worker group ${group} belongs to ${job.name}:${topic}`) &&
          error.message.includes("RESONATE_GROUP"),
      );
      await scene.startWorker();
      await until("all completions", () => isDone(scene, ids), TAKEOVER_MS);
      await assertAllDone(scene, job, ids);
    });
  }
});
