import {
  defineJob,
  type StepContext,
  type StepTools,
  type WorkflowContext,
} from "../../../src/worker/job.ts";
import { createSteps, type Effects, type Purchase, type PurchaseSteps, purchases } from "./purchase.ts";

/** Calls a step in the workflow's body, where `ctx.run` is forgotten. */
export const stepWithoutRun = defineJob({
  ...purchases,
  createSteps,
  createWorkflow: ({ charge, report }: PurchaseSteps) =>
    function* workflow(ctx: WorkflowContext, purchase: Purchase) {
      const step: StepContext = {
        idempotencyKey: purchase.orderId,
        step: "charge",
        executionId: purchase.orderId,
        attempt: 1,
        message: { id: purchase.orderId, partition: 0, offset: "0" },
      };
      void charge(step, purchase);
      yield* ctx.sleep(1000);
      yield* ctx.run(report, purchase);
    },
});

/** Starts an effect in a step and does not wait for it. */
export const effectNotAwaited = defineJob({
  ...purchases,
  createSteps: (effects: Effects, tools: Pick<StepTools, "publish">) => ({
    ...createSteps(effects, tools),
    charge: async ({ idempotencyKey: key }: StepContext, { orderId }: Purchase) => {
      setImmediate(() => effects.charge({ key, orderId }));
    },
  }),
  createWorkflow: ({ charge, report }: PurchaseSteps) =>
    function* workflow(ctx: WorkflowContext, purchase: Purchase) {
      yield* ctx.run(charge, purchase);
      yield* ctx.run(report, purchase);
    },
});
