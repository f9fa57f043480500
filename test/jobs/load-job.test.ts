import assert from "node:assert/strict";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { listJobs, loadJob } from "../../src/jobs/load-job.ts";
import { SettingsError } from "../../src/support/settings.ts";
import { parseJobSettings } from "../../src/worker/settings.ts";

const jobs = listJobs();

test("every folder with a job.ts is a job, in alphabetical order", () => {
  assert.ok(jobs.includes("deletion"));
  assert.deepEqual(jobs, [...jobs].sort());
  for (const name of jobs) {
    assert.ok(existsSync(new URL(`../../src/jobs/${name}/job.ts`, import.meta.url)), name);
  }
});

for (const name of jobs) {
  test(`${name} is loaded by its name, and its defaults are settings that will do`, async () => {
    const job = await loadJob([name]);
    assert.equal(job.name, name);
    assert.match(job.name, /^[a-z\d-]+$/);
    parseJobSettings(job, {});
  });
}

test("a command that names no job gets the deletion", async () => {
  assert.equal(await loadJob([]), await loadJob(["deletion"]));
});

test("a job that stands elsewhere is loaded by the path of its file", async (t) => {
  const folder = mkdtempSync(join(tmpdir(), "job-"));
  t.after(() => rmSync(folder, { recursive: true }));
  const file = join(folder, "job.ts");
  writeFileSync(file, `export const job = { name: "elsewhere", createWorkflow: () => function* () {} };`);
  assert.equal((await loadJob([file])).name, "elsewhere");
});

test("a path that leads to no job is told", async (t) => {
  const folder = mkdtempSync(join(tmpdir(), "job-"));
  t.after(() => rmSync(folder, { recursive: true }));
  const file = join(folder, "other.ts");
  writeFileSync(file, "export const job = 7;");
  for (const [path, got] of [
    [file, "another"],
    [join(folder, "missing.ts"), "none"],
    ["./missing/job.ts", "none"],
  ] as const) {
    await assert.rejects(loadJob([path]), (error) => {
      assert.ok(error instanceof SettingsError);
      assert.equal(error.message, `${path}: expected a file that exports a job as 'job', got ${got}`);
      return true;
    });
  }
});

test("what names no job is told with the names there are", async () => {
  for (const words of [["delete"], [""], ["Deletion"], [".."], [jobs[0] ?? "", "x"]]) {
    await assert.rejects(loadJob(words), (error) => {
      assert.ok(error instanceof SettingsError);
      const got = JSON.stringify(words.join(" "));
      assert.equal(error.message, `expected the name of a job (${jobs.join(", ")}), got ${got}`);
      return true;
    });
  }
});
