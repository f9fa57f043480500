import { type Context, Exponential } from "@resonatehq/sdk";
import { ExecutionTimeoutError } from "../jobs/deletion/steps.ts";

/** How steps are retried and where segments run: nothing here changes the order of the steps. */
export interface WorkflowOptions {
  /** Where a long record goes on: the address of a worker group. */
  readonly target: string;
  /** Between two batches, in milliseconds. */
  readonly pauseMs: number;
  /** Attempts at one batch. */
  readonly maxAttempts: number;
  /** Delay before the first retry in milliseconds; it doubles with each, up to 30 s. */
  readonly retryDelayMs: number;
}

/**
 * Longer than any outage. A promise that times out is rejected while no code of ours runs, so none ever does: the
 * deadline is a step's to watch.
 */
export const NEVER_MS = 100 * 365 * 24 * 3_600_000;

/** The options of the workflow's calls, by what they promise. */
export const stepOptions = (ctx: Context, { target, maxAttempts, retryDelayMs }: WorkflowOptions) => {
  // The target everywhere, though a step runs where its execution does: without one the SDK tries to read its default
  // as a URL, and the error it then throws away is a twentieth of the work of beginning an execution.
  const lasting = { timeout: NEVER_MS, target };
  // The SDK waits delay * 2^attempt, counting attempts from 1.
  const backoff = { delay: retryDelayMs / 2, maxDelay: 30_000 };
  const limitedBackoff = new Exponential({ ...backoff, maxRetries: maxAttempts - 1 });
  return {
    /** Retried until it succeeds. */
    untilDone: ctx.options({ ...lasting, retryPolicy: new Exponential(backoff) }),
    /** Fails after `maxAttempts`, or when the record's deadline has passed. */
    limited: ctx.options({
      ...lasting,
      retryPolicy: limitedBackoff,
      nonRetryableErrors: [ExecutionTimeoutError],
    }),
    /** Runs on any worker of the group. */
    anyWorker: ctx.options(lasting),
  };
};
