import assert from "node:assert/strict";
import { suite, test } from "node:test";
import { crashEverywhere } from "../../src/crash-test/crash-everywhere.ts";
import { listJobs, loadJob, loadScenario } from "../../src/jobs/load-job.ts";

/** So many pairs, and all single points, take some 10 s on a quiet core. */
const MAX_PAIRS = 75;

suite("every job passes, killed at every point and at a sample of the pairs", () => {
  for (const name of listJobs()) {
    test(name, async () => {
      const { points, failures } = await crashEverywhere(await loadJob([name]), await loadScenario(name), {
        maxPairs: MAX_PAIRS,
      });
      assert.deepEqual(failures, []);
      assert.ok(points > 2 * MAX_PAIRS, `expected more than ${2 * MAX_PAIRS} points, got ${points}`);
    });
  }
});
