import assert from "node:assert/strict";
import { test } from "node:test";
import { createTrouble, SimulatedError } from "../../../src/jobs/deletion/simulated-trouble.ts";
import { createRandom } from "../../helpers/unit-random.ts";
import { mockTimers } from "../../helpers/unit-time.ts";

test("a simulated failure names the record, and a retry can help", async () => {
  const trouble = { SIMULATED_LATENCY_MS: 0, SIMULATED_FAILURE_RATE: 0.25 };
  await assert.rejects(createTrouble(trouble, () => 0.24)("r-1"), {
    name: "SimulatedError",
    code: "SIMULATED",
    canRetry: true,
    message: "simulated error while processing record r-1",
  });
});

test("simulated failures come at their rate: never at 0, not from it on", async () => {
  const count = async (SIMULATED_FAILURE_RATE: number, random: () => number) => {
    const simulate = createTrouble({ SIMULATED_LATENCY_MS: 0, SIMULATED_FAILURE_RATE }, random);
    let failures = 0;
    for (let i = 0; i < 1000; i++) {
      await simulate("r-1").catch((error) => {
        assert.ok(error instanceof SimulatedError);
        failures += 1;
      });
    }
    return failures;
  };
  assert.equal(await count(0, () => 0), 0);
  assert.equal(await count(0.25, () => 0.25), 0);
  assert.ok(Math.abs((await count(0.25, createRandom(3))) - 250) < 50);
});

test("the latency comes first, and chance is asked after it", async (t) => {
  const timers = mockTimers(t);
  let asked = 0;
  const random = () => {
    asked += 1;
    return 0.5;
  };
  const simulate = createTrouble({ SIMULATED_LATENCY_MS: 100, SIMULATED_FAILURE_RATE: 0.25 }, random);
  const done = simulate("r-1");
  await timers.advance(99);
  assert.equal(asked, 0);
  await timers.advance(1);
  await done;
  assert.equal(asked, 1);
});
