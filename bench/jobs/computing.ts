import { pbkdf2Sync } from "node:crypto";
import { job as deletion } from "../../src/jobs/deletion/job.ts";
import { defineJob } from "../../src/worker/job.ts";

/** Some 20 ms of one core. */
const ROUNDS = 30_000;

/** The deletion with steps that compute, so that the cores are the bottleneck. */
export const job = defineJob({
  ...deletion,
  createSteps: (...args) => {
    const steps = deletion.createSteps(...args);
    const deleteBatch: typeof steps.deleteBatch = async (step, input, batch) => {
      pbkdf2Sync(step.idempotencyKey, "", ROUNDS, 32, "sha512");
      return steps.deleteBatch(step, input, batch);
    };
    return { ...steps, deleteBatch };
  },
});
