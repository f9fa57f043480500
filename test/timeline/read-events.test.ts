import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { readEvents } from "../../src/timeline/read-events.ts";

const fill = async (t: TestContext, files: readonly (readonly object[])[]): Promise<string[]> => {
  const folder = await mkdtemp(join(tmpdir(), "read-events-"));
  t.after(() => rm(folder, { recursive: true, force: true }));
  const paths = files.map((_, i) => join(folder, String(i)));
  for (const [i, lines] of files.entries()) {
    // A worker that was killed may have left half a line, and a log holds other lines.
    const log = [
      '{"level":"info","time":"2026-11-25T21:00:00.000Z","pid":1,"msg":"ready"}',
      "not JSON",
      '{"time":1,',
    ];
    await writeFile(paths[i] ?? "", [...lines.map((line) => JSON.stringify(line)), ...log].join("\n"));
  }
  return paths;
};

test("files of several hosts are one timeline in the order of time, whatever else stands in them", async (t) => {
  // In a container every worker is process 1.
  const [own, other] = [
    { pid: 1, hostname: "x" },
    { pid: 1, hostname: "y" },
  ];
  const of = { id: "a", executionId: "a" };
  const paths = await fill(t, [
    [
      { time: 50, ...other, event: "worker.ready", worker: "1-yy" },
      { time: 400, ...other, event: "execution.resumed", ...of, lease: 2 },
      { time: 400, ...other, event: "execution.taken-over", ...of, from: "1-xx", step: "s", key: "k" },
    ],
    [
      { time: 10, ...own, event: "worker.ready", worker: "1-xx" },
      { time: 100, ...own, event: "execution.started", ...of },
      { time: 150, ...own, event: "step.begun", ...of, step: "s", key: "k", attempt: 1 },
    ],
  ]);
  const { workers, takeovers, lanes } = await readEvents(paths);
  assert.deepEqual(
    workers.map(({ name }) => name),
    ["1-xx", "1-yy"],
  );
  assert.deepEqual(
    takeovers.map(({ from, by, gapMs }) => [from, by, gapMs]),
    [[0, 1, 250]],
  );
  assert.deepEqual([...lanes.keys()], ["a"]);
});

test("files without events are an error that says where they come from", async (t) => {
  const paths = await fill(t, [[]]);
  await assert.rejects(readEvents(paths), { code: "NO_EVENTS", message: /got none: .* EVENTS_FILE/ });
});
