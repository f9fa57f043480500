import { defineJob, type WorkflowContext } from "../../../src/worker/job.ts";
import { createSteps, type Purchase, type PurchaseSteps, purchases } from "./purchase.ts";

/** Takes a way that `first` decides, which may decide otherwise when the workflow is replayed. */
const orderedBy = (first: () => boolean) =>
  defineJob({
    ...purchases,
    createSteps,
    createWorkflow: ({ charge, report }: PurchaseSteps) =>
      function* workflow(ctx: WorkflowContext, purchase: Purchase) {
        const steps = first() ? [charge, report] : [report, charge];
        for (const step of steps) {
          yield* ctx.run(step, purchase);
          yield* ctx.sleep(1000);
        }
      },
  });

export const orderOfTime = orderedBy(() => Date.now() % 20_000 < 10_000);

/** Memory of a process: another worker has its own. */
let passes = 0;
export const orderOfMemory = orderedBy(() => passes++ % 3 !== 2);
