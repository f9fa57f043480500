import assert from "node:assert/strict";
import { suite, test } from "node:test";
import { crashEverywhere } from "../../src/crash-test/crash-everywhere.ts";
import { parseFaults } from "../../src/crash-test/faults.ts";
import { runScenario } from "../../src/crash-test/run.ts";
import type { AnyJob } from "../../src/worker/job.ts";
import { effectNotAwaited, stepWithoutRun } from "./wrong-jobs/effect-in-workflow.ts";
import { keyOfRandom, keyOfTime } from "./wrong-jobs/key-of-random-or-time.ts";
import { right, scenario } from "./wrong-jobs/purchase.ts";
import { stepNotIdempotent } from "./wrong-jobs/step-not-idempotent.ts";
import { orderOfMemory, orderOfTime } from "./wrong-jobs/unstable-order.ts";

test("a right job passes at every point and pair of points", async () => {
  const { points, failures } = await crashEverywhere(right, scenario, { maxPairs: 200 });
  assert.deepEqual(failures, []);
  assert.ok(points > 300, `expected more than 300 points, got ${points}`);
});

suite("a wrong job is caught, by name", () => {
  const wrong: [name: string, job: AnyJob, kind: string][] = [
    ["a key made of random", keyOfRandom, "key-of-random-or-time"],
    ["a key made of time", keyOfTime, "key-of-random-or-time"],
    ["a step called in the workflow's body", stepWithoutRun, "effect-in-workflow"],
    ["an effect that outlives its step", effectNotAwaited, "effect-in-workflow"],
    ["an order that depends on the time", orderOfTime, "unstable-order"],
    ["an order that depends on memory", orderOfMemory, "unstable-order"],
    ["a step that is not idempotent", stepNotIdempotent, "step-not-idempotent"],
  ];
  for (const [name, job, kind] of wrong) {
    test(name, async () => {
      const { failures } = await crashEverywhere(job, scenario, { maxPairs: 50 });
      assert.ok(failures.length > 0, "expected a failure");
      assert.deepEqual([...new Set(failures.map((failure) => failure.kind))], [kind]);
    });
  }
});

test("a point that failed fails again alone", async () => {
  const { failures } = await crashEverywhere(stepNotIdempotent, scenario, { maxPairs: 10 });
  for (const { at, kind, reason } of failures) {
    const { findings, struck } = await runScenario(stepNotIdempotent, scenario, parseFaults(at) ?? []);
    assert.ok(struck);
    assert.deepEqual(findings, [{ kind, reason }]);
  }
});
