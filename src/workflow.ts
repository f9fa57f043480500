import { type Context, Exponential } from "@resonatehq/sdk";
import { sleep } from "./sleep.ts";
import { ExecutionTimeoutError, type Steps } from "./steps.ts";

/** One Kafka message as the execution sees it: what the execution was started with stays so for its whole life. */
export interface RecordMessage {
  readonly recordId: string;
  /** Where the message stands in its topic. */
  readonly partition: number;
  readonly offset: string;
  /** 0 for a message of the topic, n when it comes back from the dead-letter topic for the n-th time. */
  readonly attempt: number;
  /** Milliseconds since 1970 after which no further batch is tried. */
  readonly deadline: number;
  /** Shapes the order of the steps, so a new setting holds for new executions only. */
  readonly batchesPerSegment: number;
}

/** How steps are retried and where segments run: nothing here changes the order of the steps. */
export interface WorkflowOptions {
  readonly group: string;
  readonly pauseMs: number;
  readonly maxAttempts: number;
  /** Delay before the first retry in milliseconds; it doubles with each, up to 30 s. */
  readonly retryDelayMs: number;
}

/**
 * Longer than any outage. A promise that times out is rejected while no code of ours runs, so none ever does: the
 * deadline is a step's to watch.
 */
export const NEVER_MS = 100 * 365 * 24 * 3_600_000;

/**
 * Makes the durable execution of one message: batch after batch until no row remains, then the completion.
 *
 * Each `yield*` is a checkpoint. After a crash the generator runs again from its top, on any worker: steps that
 * finished answer from their checkpoints, the first that did not runs. So it only orders steps. Time, randomness
 * and I/O stand in the steps.
 */
export const createWorkflow = (
  { deleteBatch, enqueueCompletion, enqueueDeadLetter }: Steps,
  { group, pauseMs, maxAttempts, retryDelayMs }: WorkflowOptions,
) =>
  function* workflow(
    ctx: Context,
    record: RecordMessage,
    firstBatch = 0,
  ): Generator<unknown, string, unknown> {
    // The SDK waits delay * 2^attempt, counting attempts from 1.
    const retry = { delay: retryDelayMs / 2, maxDelay: 30_000 };
    const untilDone = ctx.options({
      timeout: NEVER_MS,
      retryPolicy: new Exponential(retry),
    });
    const limited = ctx.options({
      timeout: NEVER_MS,
      retryPolicy: new Exponential({ ...retry, maxRetries: maxAttempts - 1 }),
      nonRetryableErrors: [ExecutionTimeoutError],
    });
    const nextSegment = firstBatch + record.batchesPerSegment;

    try {
      for (let batch = firstBatch; batch < nextSegment; batch++) {
        const rowsRemain = yield* ctx.run(deleteBatch, record, batch, limited);
        if (!rowsRemain) {
          yield* ctx.run(enqueueCompletion, record, untilDone);
          return `workflow ${record.recordId} completed`;
        }
        yield* sleep(ctx, pauseMs);
      }
    } catch (error) {
      yield* ctx.run(enqueueDeadLetter, record, error, untilDone);
      throw error;
    }

    // A replay costs requests for all that came before, so a long record goes on in a fresh execution.
    const rest = yield* ctx.detached(
      workflow,
      record,
      nextSegment,
      ctx.options({ target: group, timeout: NEVER_MS }),
    );
    return yield* rest;
  };
