import assert from "node:assert/strict";
import { suite, test } from "node:test";
import { setScene } from "../helpers/deletion-scene.ts";
import { dispatchesOf } from "../helpers/dispatches.ts";
import { holdAt, isStep } from "../helpers/protocol.ts";
import { until, within } from "../helpers/scene.ts";

suite("order", { concurrency: 3, timeout: 180_000 }, () => {
  test("mode 6: a fast record is done while a slow one that came before it in its partition still runs", async (t) => {
    const scene = await setScene(t, { BATCH_PAUSE_MS: "1000" });
    const worker = await scene.startWorker();
    const slow = await scene.seed({ batches: 6, partition: 1 });
    const fast = await scene.seed({ batches: 1, partition: 1 });
    await until("the fast record's completion", () => scene.completionsOf(fast).length > 0);
    assert.ok((await scene.records.countRows()) > 0, "rows of the slow record remain");
    assert.ok((await scene.batchesOf(slow)) < 6);
    assert.equal(scene.completionsOf(slow).length, 0);
    assert.deepEqual(
      [slow, fast].map((id) => dispatchesOf(worker, id)),
      [0, 1].map((offset) => [{ outcome: "kicked off", place: `(partition=1, offset=${offset})` }]),
    );

    await until("the slow record's completion", () => scene.completionsOf(slow).length > 0);
    assert.equal(await scene.batchesOf(slow), 6);
    assert.equal(scene.completionsOf(fast).length, 1);
    assert.equal(await scene.records.countRows(), 0);
  });

  test("mode 6: a step that takes its time holds up no message behind it", async (t) => {
    const scene = await setScene(t);
    await scene.startWorker();
    const held = holdAt(scene.proxy, isStep("deleteBatch", "end"));
    const slow = await scene.seed({ batches: 2, partition: 0 });
    const { passing, release } = await within("the slow step", held);
    assert.equal(passing.recordId, slow);
    const behind = await Promise.all(
      Array.from({ length: 5 }, () => scene.seed({ batches: 1, partition: 0 })),
    );
    await until("the completions of the others", () =>
      behind.every((id) => scene.completionsOf(id).length > 0),
    );
    await until("the commit of them all", async () => (await scene.committed()) === 6);
    assert.equal(await scene.batchesOf(slow), 1, "the slow record is at its first step still");
    assert.equal(scene.completionsOf(slow).length, 0);

    assert.equal(await release(), 200);
    await until("the slow record's completion", () => scene.completionsOf(slow).length > 0);
    assert.deepEqual(
      (await scene.records.ledger()).map(({ repeats }) => repeats),
      Array.from({ length: 7 }, () => 0),
    );
  });
});
