import type { WorkflowContext } from "../../worker/job.ts";
import type { Deletion } from "./message.ts";
import type { DeletionSteps } from "./steps.ts";

/** Batch after batch until no row remains, with a pause between them, then the completion. */
export const createWorkflow = (
  { deleteBatch, enqueueCompletion }: DeletionSteps,
  { BATCH_PAUSE_MS }: { readonly BATCH_PAUSE_MS: number },
) =>
  function* workflow(
    ctx: WorkflowContext,
    deletion: Deletion,
    first = 0,
  ): Generator<unknown, string, unknown> {
    const end = first + deletion.batchesPerSegment;

    for (let batch = first; batch < end; batch++) {
      const rowsRemain = yield* ctx.run(deleteBatch, deletion, batch);
      if (!rowsRemain) {
        yield* ctx.run(enqueueCompletion, deletion);
        return `workflow ${deletion.recordId} completed`;
      }
      yield* ctx.sleep(BATCH_PAUSE_MS);
    }

    // A replay starts at the top, so a long record goes on in a fresh execution, whose top is here.
    return yield* ctx.continueAsNew(workflow, deletion, end);
  };
