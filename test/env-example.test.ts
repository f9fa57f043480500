import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import dotenv from "dotenv";
import { listJobs, loadJob } from "../src/jobs/load-job.ts";
import { commonSchema, parseJobSettings } from "../src/worker/settings.ts";

const example = readFileSync(new URL("../.env.example", import.meta.url), "utf8");
const named = [...example.matchAll(/^# --- Job ([\w-]+):/gm)].map(([, name = ""]) => name);

const printSettings = (...names: string[]) => {
  const command = fileURLToPath(new URL("../src/bin/settings.ts", import.meta.url));
  const { status, stdout, stderr } = spawnSync(process.execPath, [command, ...names], { encoding: "utf8" });
  assert.deepEqual([status, stderr], [0, ""]);
  return stdout;
};

test(".env.example is what 'npm run settings' prints for the jobs that it names", () => {
  // A job of the reader's own need not be in it.
  assert.deepEqual(
    ["deletion", "orders"].filter((name) => !named.includes(name)),
    [],
  );
  const mend = `to mend it: node src/bin/settings.ts ${named.join(" ")} > .env.example`;
  assert.equal(example, printSettings(...named), mend);
});

test("without a name 'npm run settings' prints the settings of every job there is", () => {
  assert.equal(printSettings(), printSettings(...listJobs()));
});

test("it sets what is common to all jobs, each to its default", async () => {
  const set = dotenv.parse(example);
  assert.deepEqual(Object.keys(set), Object.keys(commonSchema));
  for (const name of named) {
    const job = await loadJob([name]);
    assert.deepEqual(parseJobSettings(job, set), parseJobSettings(job, {}));
  }
});

test("with a section's lines made settings, its job has its defaults", async () => {
  for (const section of example.split(/^# --- Job /m).slice(1)) {
    const job = await loadJob([/^[\w-]+/.exec(section)?.[0] ?? ""]);
    const [, ...lines] = section.split("\n");
    const set = dotenv.parse(lines.join("\n").replaceAll(/^# (?=[A-Z_]+=)/gm, ""));
    assert.deepEqual(parseJobSettings(job, set), parseJobSettings(job, {}));
    const own = [...Object.keys(job.defaults), ...Object.keys(job.settings)];
    assert.deepEqual(Object.keys(set).sort(), own.sort());
  }
});

test("no line is longer than 110 characters", () => {
  assert.deepEqual(
    example.split("\n").filter((line) => line.length > 110),
    [],
  );
});
