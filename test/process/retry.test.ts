import assert from "node:assert/strict";
import { suite, test } from "node:test";
import { follow } from "../helpers/protocol.ts";
import { linesWith, setScene, until } from "../helpers/scene.ts";

suite("retries", { concurrency: 3, timeout: 180_000 }, () => {
  test("mode 4: a batch that fails is tried again, and only that batch", async (t) => {
    const scene = await setScene(t, { SIMULATED_FAILURE_RATE: "0.5", RETRY_DELAY_MS: "20" });
    const begun: string[] = [];
    const ended: string[] = [];
    follow(scene.proxy, {
      before: ({ step }) => {
        if (step) (step.phase === "begin" ? begun : ended).push(step.id);
      },
    });
    const worker = await scene.startWorker();
    const batches = [1, 2, 3, 4, 5, 6];
    const ids = await Promise.all(batches.map((own) => scene.seed({ batches: own })));
    await until("every completion", () => ids.every((id) => scene.completionsOf(id).length > 0), 60_000);
    await until("every checkpoint", () => ended.length === begun.length);

    const failures = linesWith(worker, "simulated error while processing record");
    assert.ok(failures.length > 0, "batches failed");
    assert.ok(failures.every((line) => line.includes("deleteBatch")));
    // One step for each batch and one for each completion: what failed was tried again within its step.
    assert.equal(new Set(begun).size, begun.length, "no step is begun twice");
    assert.equal(new Set(ended).size, ended.length, "no step ends twice");
    assert.equal(begun.length, 21 + ids.length);
    assert.deepEqual(
      ids.map((id) => scene.records.ledger().filter(({ recordId }) => recordId === id)).map(toBatches),
      batches.map((own) => Array.from({ length: own }, (_, batch) => ({ batch, deleted: 10, repeats: 0 }))),
    );
    assert.deepEqual(
      ids.map((id) => scene.completionsOf(id).length),
      ids.map(() => 1),
    );
    assert.equal(scene.records.countRows(), 0);
  });
});

const toBatches = (entries: readonly { batch: number; deleted: number; repeats: number }[]) =>
  entries.map(({ batch, deleted, repeats }) => ({ batch, deleted, repeats }));
