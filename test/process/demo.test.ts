import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite, type TestContext, test } from "node:test";
import { fileURLToPath } from "node:url";
import { until } from "../helpers/scene.ts";

const DEMO = fileURLToPath(new URL("../../src/bin/demo.ts", import.meta.url));

const startDemo = async (t: TestContext) => {
  const folder = await mkdtemp(join(tmpdir(), "demo-test-"));
  t.after(() => rm(folder, { recursive: true, force: true }));
  // What the demo makes in the folder of temporary files, it makes here.
  const pictures = await mkdtemp(join(tmpdir(), "demo-test-"));
  t.after(() => rm(pictures, { recursive: true, force: true }));
  const timeline = join(pictures, "timeline.html");
  const child = spawn(process.execPath, [DEMO, "-n", "8", "--timeline", timeline], {
    env: { ...process.env, TMPDIR: folder },
    cwd: folder,
  });
  t.after(() => child.kill("SIGKILL"));
  const output: string[] = [];
  child.stdout.on("data", (chunk) => output.push(String(chunk)));
  child.stderr.on("data", (chunk) => output.push(String(chunk)));
  return { child, text: () => output.join(""), ended: once(child, "close"), folder, timeline };
};

const isAlive = (pid: number) => {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
};

const workerPids = (text: string) => [...text.matchAll(/is process (\d+)/g)].map(([, pid]) => Number(pid));

suite("the demo", { concurrency: 2 }, () => {
  test("kills a worker, shows that all holds, and leaves nothing", async (t) => {
    const demo = await startDemo(t);
    const [code] = await demo.ended;
    assert.equal(code, 0, demo.text());
    const kills = [
      ...demo.text().matchAll(/kill -9 (worker [A-C]):[^\n]* (nothing is deleted|is not written)/g),
    ];
    assert.deepEqual(
      kills.map(([, , when]) => when),
      ["nothing is deleted", "is not written"],
    );
    for (const [, victim] of kills) {
      assert.match(demo.text(), new RegExp(`took over \\w+ from ${victim} at batch \\d+, \\d\\.\\d s after`));
    }
    assert.match(demo.text(), /ok {3}killed between a batch's effect .*: [1-9] answered from the ledger/);
    assert.match(demo.text(), /every record is completed: 8 of 8/);
    assert.doesNotMatch(demo.text(), /FAIL/);
    const page = await readFile(demo.timeline, "utf8");
    const { lanes, strikes, workers } = JSON.parse(/id="data">(.*?)<\/script>/s.exec(page)?.[1] ?? "");
    assert.deepEqual([lanes.length, strikes.length, workers.length], [8, 2, 3]);
    assert.deepEqual(await readdir(demo.folder), []);
    assert.equal(workerPids(demo.text()).length, 3);
    await until("the workers' end", () => !workerPids(demo.text()).some(isAlive));
  });

  test("leaves nothing on Ctrl-C, either", async (t) => {
    const demo = await startDemo(t);
    await until("the workers", () => workerPids(demo.text()).length === 2);
    const pids = workerPids(demo.text());
    assert.ok(pids.every(isAlive), "interrupted while the workers ran");
    demo.child.kill("SIGINT");
    await demo.ended;
    assert.deepEqual(await readdir(demo.folder), []);
    await until("the workers' end", () => !pids.some(isAlive));
  });
});
