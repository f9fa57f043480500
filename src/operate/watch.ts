import { setTimeout } from "node:timers/promises";
import { AccessError } from "../support/access-error.ts";
import { canRetry, describe } from "../support/errors.ts";
import type { Log } from "../support/log.ts";

interface WatchOptions {
  /** Between two looks. */
  readonly intervalMs: number;
  readonly log: Pick<Log, "info" | "warn">;
  /** Ends the watch, also in the middle of a look. */
  readonly signal: AbortSignal;
}

/** Waits for `work`, which may take seconds: a stop does not wait for it. */
const unlessStopped = async (work: Promise<void>, signal: AbortSignal): Promise<void> => {
  const stopped = Promise.withResolvers<never>();
  const onAbort = () => stopped.reject(signal.reason);
  signal.addEventListener("abort", onAbort, { once: true });
  try {
    await Promise.race([work, stopped.promise]);
  } finally {
    signal.removeEventListener("abort", onAbort);
  }
};

/**
 * Looks again and again. That it cannot is one line for each outage, and one when it can again.
 *
 * @throws the reason of `signal`, once that is aborted
 * @throws {AccessError} when what is asked refuses this client; other errors of `look` that no retry can help
 */
export const watch = async (
  look: () => Promise<void>,
  { intervalMs, log, signal }: WatchOptions,
): Promise<never> => {
  for (let awaySince: number | undefined; ; ) {
    signal.throwIfAborted();
    try {
      await unlessStopped(look(), signal);
      if (awaySince !== undefined)
        log.info(`can look again, after ${Math.round((Date.now() - awaySince) / 1000)} s`);
      awaySince = undefined;
    } catch (error) {
      signal.throwIfAborted();
      if (error instanceof AccessError || !canRetry(error)) throw error;
      if (awaySince === undefined) log.warn(`cannot look, trying on: ${describe(error)}`);
      awaySince ??= Date.now();
    }
    await setTimeout(intervalMs, undefined, { signal }).catch(() => signal.throwIfAborted());
  }
};
