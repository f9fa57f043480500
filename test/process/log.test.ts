import assert from "node:assert/strict";
import { suite, test } from "node:test";
import { spawnWorker } from "../../src/demo/worker-process.ts";
import { setScene } from "../helpers/deletion-scene.ts";
import { until, within } from "../helpers/scene.ts";

suite("log", { concurrency: 2, timeout: 120_000 }, () => {
  test("each line about a record has its fields: what it is about, where it stood, and who says so", async (t) => {
    const scene = await setScene(t);
    const worker = await scene.startWorker();
    const name = await worker.ready;
    const id = await scene.seed({ batches: 2, partition: 1 });
    await until("the completion's line", () =>
      worker.lines.some(
        (line) => line === `completion of record ${id} is in ${scene.settings.TOPIC_COMPLETIONS}`,
      ),
    );
    const own = worker.log.filter(({ recordId }) => recordId === id);
    const place = { recordId: id, worker: name, partition: 1, offset: "0" };
    const step = { ...place, step: "deleteBatch", attempt: 1 };
    const expected: Readonly<Record<string, object>> = {
      [`kicked off workflow for record ${id} (partition=1, offset=0)`]: place,
      [`processing record ${id} in position 0`]: { ...step, batch: 0 },
      [`record ${id} still has rows to delete`]: { ...step, batch: 0 },
      [`all rows deleted for record ${id} in position 0`]: { ...step, batch: 1 },
    };
    for (const [message, fields] of Object.entries(expected)) {
      const [line, ...others] = own.filter(({ msg }) => msg === message);
      assert.equal(others.length, 0, message);
      assert.deepEqual({ ...line, ...fields }, line, message);
    }
    assert.ok(worker.log.every(({ level, time, pid }) => level && time && pid === worker.pid));
  });

  test("LOG_FORMAT=pretty gives text to whoever reads it, with the same messages", async (t) => {
    const scene = await setScene(t);
    const env = { ...scene.env, LOG_FORMAT: "pretty" };
    const worker = scene.resources.use(spawnWorker(env, { cwd: scene.folder }));
    const name = await within("the worker", worker.ready);
    const last = worker.lines.at(-1) ?? "";
    assert.match(last, /^\[\d\d:\d\d:\d\d\.\d{3}\] INFO \(worker\/\d+\): worker /);
    assert.ok(last.includes(`worker ${name} is ready: kill -9 ${worker.pid} to see another take over`));
    assert.equal(worker.log.at(-1)?.level, undefined, "it is no JSON");
  });
});
