import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { once } from "node:events";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { test } from "node:test";
import { job } from "../../src/jobs/deletion/job.ts";
import { openRecords } from "../../src/jobs/deletion/open-records.ts";
import { buildImage, readDockerfile } from "../helpers/dockerfile.ts";
import { findFreePort } from "../helpers/free-port.ts";
import { openScene, until, within } from "../helpers/scene.ts";

const ROOT = join(import.meta.dirname, "../..");
const read = (path: string) => readFileSync(join(ROOT, path), "utf8");

test("the image's Node is the one that this is tested with, and nothing but src goes in", async () => {
  const [from] = await readDockerfile();
  const manifest: { devDependencies: Record<string, string> } = JSON.parse(read("package.json"));
  assert.deepEqual(from, { name: "FROM", value: `node:${manifest.devDependencies.node}-slim` });
  assert.deepEqual(read(".dockerignore").trim().split("\n"), [
    "*",
    "!package.json",
    "!package-lock.json",
    "!src",
  ]);
});

test("what the Dockerfile makes runs as another user, says that it is healthy, and stops gracefully", async (t) => {
  if (process.getuid?.() !== 0) return t.skip("needs root, to run as another user");
  if (spawnSync("setpriv", ["--version"]).error) return t.skip("needs setpriv, of util-linux");
  await using image = await buildImage();
  const missing = ["typescript", "node", "@biomejs"].filter((name) =>
    existsSync(join(image.folder, "node_modules", name)),
  );
  assert.deepEqual(missing, [], "production dependencies only");

  const scene = await openScene(t, job, () => ({
    SIMULATED_FAILURE_RATE: "0",
    SIMULATED_LATENCY_MS: "1000",
  }));
  const { RECORDS_DB: _, ...settings } = scene.env;
  const env = { ...settings, HTTP_PORT: String(await findFreePort()) };
  assert.notEqual(await image.checkHealth(env), 0, "nothing runs");

  const worker = image.start(env);
  t.after(() => void worker.kill("SIGKILL"));
  const exited = once(worker, "close");
  const lines: string[] = [];
  for (const stream of [worker.stdout, worker.stderr]) {
    if (stream) createInterface({ input: stream }).on("line", (line) => lines.push(line));
  }
  const isReady = () => lines.some((line) => line.includes(`kill -9 ${worker.pid} `));
  await until("the worker", isReady).catch(() => assert.fail(lines.join("\n")));
  const [, uid] = /^Uid:\s+(\d+)/m.exec(readFileSync(`/proc/${worker.pid}/status`, "utf8")) ?? [];
  assert.equal(Number(uid), image.uid);
  assert.equal(await image.checkHealth(env), 0);

  await using records = await openRecords(join(image.folder, "data/records.db"), {
    worker: "test",
    lockWaitMs: 5000,
  });
  await records.addRows(new Map([["a", 5]]));
  await scene.produce({ key: "a", value: '"a"' });
  await until("a step", () => lines.some((line) => line.includes("processing record a ")));
  worker.kill("SIGTERM");
  assert.deepEqual(await within("the end", exited), [0, null], "a graceful stop");
  assert.equal(await records.countRows(), 0, "the running step came to its end");
});

test("docker-compose takes the compose file, with every profile", (t) => {
  const command = [["docker", "compose"], ["docker-compose"]].find(
    ([file = "", ...args]) => spawnSync(file, [...args, "version"]).status === 0,
  );
  if (command === undefined) return t.skip("needs docker-compose, which .ci/compose installs");
  const [file = "", ...args] = command;
  const profiles = [...read("docker-compose.yml").matchAll(/profiles: \[(\w+)\]/g)].map(([, name]) => name);
  assert.deepEqual([...new Set(profiles)].toSorted(), ["observe", "postgres", "workers"]);
  const chosen = profiles.flatMap((name) => ["--profile", String(name)]);
  const config = execFileSync(file, [...args, ...chosen, "config"], { cwd: ROOT, encoding: "utf8" });
  for (const service of ["redpanda", "resonate", "worker", "postgres", "prometheus"])
    assert.match(config, new RegExp(`^  ${service}:$`, "m"));
  assert.match(config, /RECORDS_DB: data\/records.db/);
});
