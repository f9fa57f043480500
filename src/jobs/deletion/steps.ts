import { setTimeout } from "node:timers/promises";
import type { Context } from "@resonatehq/sdk";
import type { Producer } from "kafkajs";
import { describe } from "../../support/errors.ts";
import type { Log } from "../../support/log.ts";
import type { Semaphore } from "../../support/semaphore.ts";
import { ATTEMPT_HEADER, toDeadLetterMessage } from "../../worker/dead-letter.ts";
import type { RecordStore } from "./records.ts";
import type { RecordMessage } from "./workflow.ts";

/** Carries the durable promise id of the step that sent a message: the same id twice is the same completion twice. */
export const STEP_ID_HEADER = "step-id";

/** What the steps need of the outside world. */
export interface StepEffects {
  readonly records: Pick<RecordStore, "deleteBatch">;
  readonly producer: Pick<Producer, "send">;
  readonly topics: {
    readonly source: string;
    readonly completions: string;
    readonly deadLetters: string;
  };
  /** Rows a batch. */
  readonly batchSize: number;
  /** So many batches are deleted at once; the others wait, and keep their leases. */
  readonly running: Semaphore;
  /** How long a batch takes at least, in milliseconds. */
  readonly latencyMs: number;
  /** Share of batches, 0 to 1, that fail before they begin. */
  readonly failureRate: number;
  /** A number from 0 up to, but not including, 1. */
  readonly random: () => number;
  /** Milliseconds since 1970. */
  readonly now: () => number;
  readonly log: Log;
}

/** The error that shows retries at work. The next attempt may succeed. */
export class SimulatedError extends Error {
  readonly code = "SIMULATED";
  readonly canRetry = true;
  override name = "SimulatedError";
}

/** The deadline of an execution has passed. No retry of the same execution can help. */
export class ExecutionTimeoutError extends Error {
  readonly code = "EXECUTION_TIMEOUT";
  readonly canRetry = false;
  override name = "ExecutionTimeoutError";
}

export type Steps = ReturnType<typeof createSteps>;

/**
 * Makes the leaf functions of the workflow: everything in it that touches the world. Put your own job in place of
 * `deleteBatch`; `ctx.id` is the same each time a step runs, so it serves as idempotency key.
 */
export const createSteps = ({
  records,
  producer,
  topics,
  batchSize,
  running,
  latencyMs,
  failureRate,
  random,
  now,
  log,
}: StepEffects) => {
  /**
   * Removes one batch of the record's rows and says whether rows remain.
   *
   * @throws {SimulatedError} at random
   * @throws {ExecutionTimeoutError} when the record's deadline has passed
   * @throws {RecordStoreError} from the row store
   */
  const deleteBatch = async (ctx: Context, record: RecordMessage, batch: number): Promise<boolean> => {
    await running.acquire();
    try {
      return await deleteBatchNow(ctx, record, batch);
    } finally {
      running.release();
    }
  };

  const deleteBatchNow = async (
    ctx: Context,
    { recordId, offset, deadline }: RecordMessage,
    batch: number,
  ): Promise<boolean> => {
    if (now() > deadline) {
      const late = `expected record ${recordId} to be done by ${new Date(deadline).toISOString()}, got to batch ${batch}`;
      throw new ExecutionTimeoutError(late);
    }
    if (batch === 0 && ctx.info.attempt === 1)
      log.info(`processing record ${recordId} in position ${offset}`);
    if (latencyMs > 0) await setTimeout(latencyMs);
    if (random() < failureRate)
      throw new SimulatedError(`simulated error while processing record ${recordId}`);

    const { rowsRemain, repeated } = records.deleteBatch({
      stepId: ctx.id,
      recordId,
      batch,
      size: batchSize,
    });
    if (repeated)
      log.warn(`batch ${batch} of record ${recordId} was deleted before a crash: nothing deleted again`);
    else if (rowsRemain) log.info(`record ${recordId} still has rows to delete`);
    else log.info(`all rows deleted for record ${recordId} in position ${offset}`);
    return rowsRemain;
  };

  /** Publishes `[recordId, offset]` as JSON, keyed by record id. */
  const enqueueCompletion = async (ctx: Context, { recordId, offset }: RecordMessage): Promise<void> => {
    const value = JSON.stringify([recordId, offset]);
    await producer.send({
      topic: topics.completions,
      acks: -1,
      messages: [{ key: recordId, value, headers: { [STEP_ID_HEADER]: ctx.id } }],
    });
  };

  /** Publishes a record whose execution failed to the dead-letter topic, from which it can be driven again. */
  const enqueueDeadLetter = async (ctx: Context, record: RecordMessage, cause: unknown): Promise<void> => {
    const { recordId, partition, offset, attempt } = record;
    const error = describe(cause);
    const message = toDeadLetterMessage(
      {
        key: recordId,
        value: JSON.stringify(recordId),
        headers: {
          [STEP_ID_HEADER]: ctx.id,
          [ATTEMPT_HEADER]: String(attempt),
        },
        reason: "execution-failed",
        error,
        topic: topics.source,
        partition,
        offset,
      },
      new Date(now()),
    );
    await producer.send({
      topic: topics.deadLetters,
      acks: -1,
      messages: [message],
    });
    log.error(`record ${recordId} in position ${offset} goes to ${topics.deadLetters}: ${error}`);
  };

  return { deleteBatch, enqueueCompletion, enqueueDeadLetter };
};
