import {
  defineJob,
  type StepContext,
  type StepTools,
  type WorkflowContext,
} from "../../../src/worker/job.ts";
import { createSteps, type Effects, type Purchase, purchases } from "./purchase.ts";

/** Has a step whose effect knows no key: it takes place anew whenever the step is tried again. */
const createOwnSteps = (effects: Effects, tools: Pick<StepTools, "publish">) => ({
  ...createSteps(effects, tools),
  pack: (_step: StepContext) => effects.countParcel(),
});

export const stepNotIdempotent = defineJob({
  ...purchases,
  createSteps: createOwnSteps,
  createWorkflow: ({ charge, pack, report }: ReturnType<typeof createOwnSteps>) =>
    function* workflow(ctx: WorkflowContext, purchase: Purchase) {
      yield* ctx.run(charge, purchase);
      yield* ctx.run(pack);
      yield* ctx.run(report, purchase);
    },
});
