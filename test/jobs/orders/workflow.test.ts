import assert from "node:assert/strict";
import { test } from "node:test";
import { createSteps } from "../../../src/jobs/orders/steps.ts";
import { createWorkflow } from "../../../src/jobs/orders/workflow.ts";
import { silentLog } from "../../../src/support/log.ts";
import type { WorkflowContext } from "../../../src/worker/job.ts";

const order = { orderId: "o-1", amount: 12.5 };

test("an order is charged, waits, is shipped, then reported with its tracking id", () => {
  const steps = createSteps(
    { fetch },
    { publish: async () => {}, log: silentLog },
    { PAYMENT_URL: "http://localhost:1" },
  );
  const results = new Map<unknown, unknown>([[steps.ship, "T1"]]);
  const events: unknown[] = [];
  const ctx: WorkflowContext = {
    *run(step, ...args) {
      events.push([Object.entries(steps).find(([, known]) => known === step)?.[0], ...args]);
      return results.get(step) as Awaited<ReturnType<typeof step>>;
    },
    *sleep(ms) {
      yield events.push(["sleep", ms]);
    },
    continueAsNew: () => assert.fail("expected one execution"),
  };
  const execution = createWorkflow(steps, { SHIP_DELAY_MS: 7 })(ctx, order);
  execution.next();
  assert.deepEqual(events, [
    ["charge", order],
    ["sleep", 7],
  ]);
  assert.deepEqual(execution.next(), { done: true, value: "order o-1 shipped as T1" });
  assert.deepEqual(events, [
    ["charge", order],
    ["sleep", 7],
    ["ship", order],
    ["enqueueShipped", order, "T1"],
  ]);
});
