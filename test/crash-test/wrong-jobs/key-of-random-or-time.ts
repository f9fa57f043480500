import { randomUUID } from "node:crypto";
import { defineJob, type StepContext, type StepTools } from "../../../src/worker/job.ts";
import { createSteps, createWorkflow, type Effects, type Purchase, purchases } from "./purchase.ts";

/** Keys its charge by what `makeKey` gives at the moment, in place of the step's key. */
const keyedBy = (makeKey: () => string) =>
  defineJob({
    ...purchases,
    createSteps: (effects: Effects, tools: Pick<StepTools, "publish">) => ({
      ...createSteps(effects, tools),
      charge: (_step: StepContext, { orderId }: Purchase) => effects.charge({ key: makeKey(), orderId }),
    }),
    createWorkflow,
  });

export const keyOfRandom = keyedBy(randomUUID);
export const keyOfTime = keyedBy(() => `4711-${new Date().toISOString()}`);
