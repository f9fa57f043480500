import assert from "node:assert/strict";
import { existsSync } from "node:fs";
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

test("what names no job is told with the names there are", async () => {
  for (const words of [
    ["delete"],
    [""],
    ["Deletion"],
    ["../worker"],
    ["deletion/../deletion"],
    [jobs[0] ?? "", "x"],
  ]) {
    await assert.rejects(loadJob(words), (error) => {
      assert.ok(error instanceof SettingsError);
      const got = JSON.stringify(words.join(" "));
      assert.equal(error.message, `expected the name of a job (${jobs.join(", ")}), got ${got}`);
      return true;
    });
  }
});
