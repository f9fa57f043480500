import type { StepContext, StepTools } from "../../worker/job.ts";
import type { Deletion } from "./message.ts";
import type { RecordStore } from "./records.ts";

/** What the steps touch. */
export interface DeletionEffects {
  readonly records: Pick<RecordStore, "deleteBatch">;
  /** Stands for the slow and unreliable parts of a real job: waits, and now and then throws. */
  readonly simulateTrouble: (recordId: string) => Promise<void>;
}

export type DeletionSteps = ReturnType<typeof createSteps>;

/** The leaf functions of the workflow: everything in it that touches the world. */
export const createSteps = (
  { records, simulateTrouble }: DeletionEffects,
  { publish, answered, log }: Pick<StepTools, "publish" | "answered" | "log">,
  { BATCH_SIZE }: { readonly BATCH_SIZE: number },
) => ({
  /**
   * Deletes one batch of the record's rows and says whether rows remain.
   *
   * @throws {SimulatedError} at random
   * @throws {RecordStoreError} from the row store
   */
  deleteBatch: async (step: StepContext, { recordId }: Deletion, batch: number): Promise<boolean> => {
    const { offset } = step.message;
    if (batch === 0 && step.attempt === 1)
      log.info({ batch }, `processing record ${recordId} in position ${offset}`);
    await simulateTrouble(recordId);

    const request = { key: step.idempotencyKey, recordId, batch, size: BATCH_SIZE };
    const { rowsRemain, repeated } = await records.deleteBatch(request);
    if (repeated) {
      answered(step);
      log.warn(
        { batch },
        `batch ${batch} of record ${recordId} was deleted before a crash: nothing deleted again`,
      );
    } else if (rowsRemain) log.info({ batch }, `record ${recordId} still has rows to delete`);
    else log.info({ batch }, `all rows deleted for record ${recordId} in position ${offset}`);
    return rowsRemain;
  },

  /** Publishes `[recordId, offset]` as JSON, keyed by record id. */
  enqueueCompletion: async (step: StepContext, { recordId }: Deletion): Promise<void> => {
    await publish(step, { key: recordId, value: JSON.stringify([recordId, step.message.offset]) });
  },
});
