import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { createMetrics } from "../../src/observe/metrics.ts";

const root = join(import.meta.dirname, "../..");
const read = (path: string) => readFileSync(join(root, path), "utf8");
const alerts = read("ops/alerts.yml");
const dashboard = read("ops/grafana/dashboards/kafka-worker.json");

const hasPromtool = spawnSync("promtool", ["--version"]).status === 0;
const skip = hasPromtool ? false : "promtool is not here: Debian's package prometheus has it";
const promtool = (input: string | undefined, ...args: string[]) => {
  const { status, stdout, stderr } = spawnSync("promtool", args, {
    cwd: root,
    encoding: "utf8",
    timeout: 60_000,
    ...(input !== undefined && { input }),
  });
  return { status, output: `${stdout}${stderr}` };
};

/** The queries of the dashboard, with what Grafana puts into them. */
const queries: string[] = [...dashboard.matchAll(/"expr": ("(?:[^"\\]|\\.)*")/g)].map(([, text = ""]) =>
  String(JSON.parse(text)).replaceAll("$__rate_interval", "1m").replaceAll("$instance", ".*"),
);

const render = async () => {
  const metrics = createMetrics({ state: () => undefined, isReady: () => true, version: "1", group: "g" });
  const text = await metrics.render();
  metrics[Symbol.dispose]();
  return text;
};

test("dashboard and alerts ask for metrics that there are, and the dashboard shows every one", async () => {
  const metrics = await render();
  const known = new Set([...metrics.matchAll(/^# TYPE (\w+)/gm)].map(([, name = ""]) => name));
  const namesIn = (text: string) =>
    new Set(
      [...text.matchAll(/\b(?:kafka_worker|process|nodejs)_\w+/g)].map(([name]) =>
        known.has(name) ? name : name.replace(/_(bucket|count|sum)$/, ""),
      ),
    );
  for (const text of [alerts, queries.join("\n")]) {
    const names = namesIn(text);
    assert.ok(names.size > 7);
    assert.deepEqual(
      [...names].filter((name) => !known.has(name)),
      [],
    );
  }
  const shown = namesIn(dashboard);
  assert.deepEqual(
    [...known].filter((name) => name.startsWith("kafka_worker_") && !shown.has(name)),
    [],
  );
});

test("what the compose file mounts is there", () => {
  const mounts = [...read("docker-compose.yml").matchAll(/- \.\/(ops\/[^:]+):/g)].map(
    ([, path = ""]) => path,
  );
  assert.ok(mounts.length >= 4);
  assert.deepEqual(
    mounts.filter((path) => !existsSync(join(root, path))),
    [],
  );
});

test("promtool finds Prometheus' settings and the alerts in order", { skip }, () => {
  const { status, output } = promtool(undefined, "check", "config", "ops/prometheus.yml");
  assert.equal(status, 0, output);
  assert.match(output, /8 rules found|is valid/);
});

test("each alert fires when it should, and only then", { skip }, () => {
  const { status, output } = promtool(undefined, "test", "rules", "ops/alerts.test.yml");
  assert.equal(status, 0, output);
});

test("promtool can read each query of the dashboard", { skip }, async (t) => {
  const folder = await mkdtemp(join(tmpdir(), "queries-"));
  t.after(() => rm(folder, { recursive: true }));
  const rules = queries.map((expr, i) => ({ record: `dashboard:query${i}`, expr }));
  assert.ok(rules.length > 30);
  const file = join(folder, "queries.json");
  await writeFile(file, JSON.stringify({ groups: [{ name: "dashboard", rules }] }));
  const { status, output } = promtool(undefined, "check", "rules", file);
  assert.equal(status, 0, output);
});

test("promtool has nothing to say of our metrics", { skip }, async () => {
  const { output } = promtool(await render(), "check", "metrics");
  assert.deepEqual(
    output.split("\n").filter((line) => line.startsWith("kafka_worker_")),
    [],
  );
});
