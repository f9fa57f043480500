import assert from "node:assert/strict";
import { suite, test } from "node:test";
import { effectsOnce, jobs, keysOf } from "../helpers/job-scene.ts";
import { follow } from "../helpers/protocol.ts";
import { linesWith, until } from "../helpers/scene.ts";

suite("retries", { concurrency: 3, timeout: 180_000 }, () => {
  for (const job of jobs) {
    const { name, counted, trouble, setScene } = job;
    test(`mode 4: a step that fails is tried again, and only that step (${name})`, async (t) => {
      const scene = await setScene(t, { ...trouble.env, RETRY_DELAY_MS: "20" });
      const begun: string[] = [];
      const ended: string[] = [];
      follow(scene.proxy, {
        before: ({ step }) => {
          if (step) (step.phase === "begin" ? begun : ended).push(step.key);
        },
      });
      const worker = await scene.startWorker();
      const ids = await Promise.all(Array.from({ length: 8 }, () => scene.seedOne()));
      await until("every completion", () => ids.every((id) => scene.completionsOf(id).length > 0), 60_000);
      await until("every checkpoint", () => ended.length === begun.length);

      const failures = linesWith(worker, trouble.line);
      assert.ok(failures.length > 0, "steps failed");
      assert.ok(failures.every((line) => line.includes(`step ${counted} of `)));
      // What failed was tried again within its step.
      const keys = ids.flatMap((id) => keysOf(job, id)).toSorted();
      assert.deepEqual(begun.toSorted(), keys, "each step is begun once");
      assert.deepEqual(ended.toSorted(), keys, "each step ends once");
      for (const id of ids) {
        const effects = (await scene.effectsOf(id)).map(({ key }) => key);
        assert.deepEqual(
          effects,
          effectsOnce(job, id).map(({ key }) => key),
          "each effect took place once",
        );
        assert.equal(scene.completionsOf(id).length, 1);
      }
    });
  }
});
