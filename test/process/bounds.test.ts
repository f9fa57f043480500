import assert from "node:assert/strict";
import { suite, test } from "node:test";
import { setScene } from "../helpers/deletion-scene.ts";
import { linesWith, until } from "../helpers/scene.ts";

suite("bounds", { concurrency: 2, timeout: 180_000 }, () => {
  test("MAX_IN_FLIGHT: the others stay in Kafka for longer than a session, and come as executions end", async (t) => {
    const [max, count] = [5, 8];
    const scene = await setScene(t, { MAX_IN_FLIGHT: String(max) });
    const pauseMs = scene.settings.SESSION_TIMEOUT_MS + 2000;
    const worker = await scene.startWorker({ BATCH_PAUSE_MS: String(pauseMs) });
    const began = Date.now();
    const ids = await Promise.all(
      Array.from({ length: count }, (_, i) => scene.seed({ batches: 2, partition: i % 2 })),
    );
    await until("the first completion", () => scene.completions.length > 0);
    assert.ok(Date.now() - began > scene.settings.SESSION_TIMEOUT_MS, "a session has passed");
    await until("all completions", () => ids.every((id) => scene.completionsOf(id).length > 0));
    await until("the commit of them all", async () => (await scene.committed()) === count);

    let [begun, ended] = [0, 0];
    for (const line of worker.lines) {
      if (line.includes("all rows deleted")) ended += 1;
      if (line.includes("kicked off workflow")) begun += 1;
      assert.ok(begun - ended <= max, `${begun} begun and ${ended} ended at: ${line}`);
    }
    assert.equal(begun, count);
    assert.equal(linesWith(worker, "joined consumer group").length, 1);
    assert.equal(scene.completions.length, count);
  });

  test("STEP_CONCURRENCY: so many steps at once, and who waits for longer than a lease keeps it", async (t) => {
    const [places, latencyMs, count] = [2, 400, 14];
    const scene = await setScene(t);
    const worker = await scene.startWorker({
      STEP_CONCURRENCY: String(places),
      SIMULATED_LATENCY_MS: String(latencyMs),
    });
    const ids = await Promise.all(Array.from({ length: count }, () => scene.seed({ batches: 1 })));
    await until("all completions", () => ids.every((id) => scene.completionsOf(id).length > 0));

    const applied = (await scene.records.ledger()).map(({ appliedAt }) => appliedAt);
    assert.equal(applied.length, count);
    assert.ok(
      (applied.at(-1) ?? 0) - (applied[0] ?? 0) > scene.settings.LEASE_TTL_MS,
      "the last waited for longer",
    );
    for (let i = places; i < count; i++) {
      const after = (applied[i] ?? 0) - (applied[i - places] ?? 0);
      // Timers may be a millisecond early.
      assert.ok(after >= latencyMs - 2, `batch ${i} came ${after} ms after batch ${i - places}`);
    }
    assert.equal(linesWith(worker, "processing record").length, count, "each step ran once");
    assert.equal(scene.completions.length, count);
  });
});
