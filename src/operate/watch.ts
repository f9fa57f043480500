import { setTimeout } from "node:timers/promises";
import { describe } from "../support/errors.ts";
import type { Log } from "../support/log.ts";
import { untilDone } from "../worker/reach.ts";

interface WatchOptions {
  /** Between two looks. */
  readonly intervalMs: number;
  readonly log: Pick<Log, "info" | "warn">;
  /** Ends the watch, also in the middle of a look. */
  readonly signal: AbortSignal;
}

/**
 * Looks again and again. An outage is one line, and its end another.
 *
 * @throws the reason of `signal`, once that is aborted
 * @throws {AccessError} when what is asked refuses this client; other errors of `look` that no retry can help
 */
export const watch = async (
  look: () => Promise<void>,
  { intervalMs, log, signal }: WatchOptions,
): Promise<never> => {
  for (;;) {
    let awaySince: number | undefined;
    await untilDone(look, {
      signal,
      minDelayMs: intervalMs,
      maxDelayMs: intervalMs,
      onFailure: (error) => {
        if (awaySince === undefined) log.warn(`cannot look, trying on: ${describe(error)}`);
        awaySince ??= Date.now();
      },
    });
    if (awaySince !== undefined)
      log.info(`can look again, after ${Math.round((Date.now() - awaySince) / 1000)} s`);
    await setTimeout(intervalMs, undefined, { signal }).catch(() => signal.throwIfAborted());
  }
};
