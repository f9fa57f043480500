import { setTimeout as delayFor } from "node:timers/promises";
import { canRetry } from "./errors.ts";

/** Something took longer than it may. A retry can help. */
class TimeoutError extends Error {
  readonly code = "TIMEOUT";
  readonly canRetry = true;
  override name = "TimeoutError";
}

/** Waits for `work`, but at most `ms` milliseconds; says whether it was done by then. Rejects as `work` does. */
export const doneWithin = async (work: Promise<unknown>, ms: number): Promise<boolean> => {
  const tooLate = Promise.withResolvers<boolean>();
  // Not the timer of node:timers/promises: to cancel that costs an AbortError, for each message.
  const timer = setTimeout(tooLate.resolve, ms, false);
  try {
    return await Promise.race([work.then(() => true), tooLate.promise]);
  } finally {
    clearTimeout(timer);
  }
};

/**
 * The result of `work`, or, after `ms` milliseconds, an error that names `what`. The work itself is not stopped.
 *
 * @throws {TimeoutError}
 */
export const withTimeout = async <T>(work: Promise<T>, ms: number, what: string): Promise<T> => {
  if (await doneWithin(work, ms)) return work;
  throw new TimeoutError(`expected ${what} within ${ms} ms, got no answer`);
};

export interface Patience {
  /** Ends the tries. */
  readonly signal: AbortSignal;
  /** Told of each failure before the wait for the next try. */
  readonly onFailure: (error: unknown, retryInMs: number) => void;
  readonly minDelayMs?: number;
  readonly maxDelayMs?: number;
}

/**
 * Runs `work` until it succeeds, with a backoff that doubles from try to try.
 *
 * @throws the reason of `signal`, once that is aborted; what `work` throws, when that says that a retry cannot help
 */
export const retryUntilDone = async <T>(
  work: () => Promise<T>,
  { signal, onFailure, minDelayMs = 200, maxDelayMs = 5000 }: Patience,
): Promise<T> => {
  for (let delay = minDelayMs; ; delay = Math.min(delay * 2, maxDelayMs)) {
    signal.throwIfAborted();
    try {
      return await work();
    } catch (error) {
      signal.throwIfAborted();
      if (!canRetry(error)) throw error;
      onFailure(error, delay);
    }
    await delayFor(delay, undefined, { signal }).catch(() => signal.throwIfAborted());
  }
};
