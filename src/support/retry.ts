import { setTimeout as delayFor } from "node:timers/promises";
import { canRetry } from "./errors.ts";

/** Something took longer than it may. A retry can help. */
class TimeoutError extends Error {
  readonly code = "TIMEOUT";
  readonly canRetry = true;
  override name = "TimeoutError";
}

/** Those who wait for a promise, by that promise. */
const waiting = new WeakMap<Promise<unknown>, Set<() => void>>();

/**
 * Calls `waiter` once `work` has settled, until it is deleted from the set that is given back. Whatever is chained to a
 * promise stays for as long as that is pending, so one link serves all who wait, however often they do.
 */
const whenSettled = (work: Promise<unknown>, waiter: () => void): Set<() => void> => {
  const present = waiting.get(work);
  if (present) return present.add(waiter);
  const waiters = new Set([waiter]);
  waiting.set(work, waiters);
  const settled = () => {
    waiting.delete(work);
    for (const wake of waiters) wake();
  };
  work.then(settled, settled);
  return waiters;
};

/** Waits for `work`, but at most `ms` milliseconds; says whether it was done by then. Rejects as `work` does. */
export const doneWithin = async (work: Promise<unknown>, ms: number): Promise<boolean> => {
  const { promise, resolve } = Promise.withResolvers<boolean>();
  const isDone = () => resolve(true);
  const waiters = whenSettled(work, isDone);
  // Not the timer of node:timers/promises: to cancel that costs an AbortError, for each message.
  const timer = setTimeout(resolve, ms, false);
  const done = await promise;
  clearTimeout(timer);
  waiters.delete(isDone);
  if (done) await work;
  return done;
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
  /** Whether no retry can help; as the error says itself, unless told otherwise. */
  readonly isFinal?: (error: unknown) => boolean;
  readonly minDelayMs?: number;
  readonly maxDelayMs?: number;
}

/**
 * Runs `work` until it succeeds, with a backoff that doubles from try to try.
 *
 * @throws the reason of `signal`, once that is aborted; what `work` throws, when a retry cannot help
 */
export const retryUntilDone = async <T>(
  work: () => Promise<T>,
  { signal, onFailure, isFinal = (error) => !canRetry(error), minDelayMs = 200, maxDelayMs = 5000 }: Patience,
): Promise<T> => {
  for (let delay = minDelayMs; ; delay = Math.min(delay * 2, maxDelayMs)) {
    signal.throwIfAborted();
    try {
      return await work();
    } catch (error) {
      signal.throwIfAborted();
      if (isFinal(error)) throw error;
      onFailure(error, delay);
    }
    await delayFor(delay, undefined, { signal }).catch(() => signal.throwIfAborted());
  }
};

/** Runs `work`, unless it runs already: then it is waited for. */
export const oneAtATime = (work: () => Promise<void>): (() => Promise<void>) => {
  let running: Promise<void> | undefined;
  return () => {
    running ??= work().finally(() => {
      running = undefined;
    });
    return running;
  };
};
