import { AccessError } from "../support/access-error.ts";
import { canRetry, describe, OutageError } from "../support/errors.ts";
import type { Log } from "../support/log.ts";
import { isPostgres } from "../support/postgres.ts";
import { type Patience, retryUntilDone } from "../support/retry.ts";
import { unlessAborted } from "../support/signals.ts";

export interface ReachOptions {
  /** What is to be reached, and where, as a reader knows it. */
  readonly system: string;
  readonly address: string;
  readonly log: Log;
  /** Ends the wait. */
  readonly signal: AbortSignal;
}

/** No retry helps where what is asked refuses this client, or where the error itself says so. */
const isFinal = (error: unknown): boolean => error instanceof AccessError || !canRetry(error);

/** Tries until it is done. A try may take seconds: a stop does not wait for it. */
export const untilDone = <T>(work: () => Promise<T>, patience: Patience): Promise<T> =>
  unlessAborted(retryUntilDone(work, { minDelayMs: 1000, isFinal, ...patience }), patience.signal);

/**
 * Waits until `reach` succeeds, and says every time that it does not, and when it does after all.
 *
 * @throws the reason of `signal`, once that is aborted
 * @throws {AccessError} when what is reached refuses this client; other errors of `reach` that no retry can help
 */
export const untilReachable = async (
  { system, address, log, signal }: ReachOptions,
  reach: () => Promise<void>,
): Promise<void> => {
  const advice = isPostgres(address) ? "" : "Start one with 'npm run stack' or 'docker compose up -d'. ";
  let awaySince: number | undefined;
  await untilDone(reach, {
    signal,
    onFailure: (error, retryInMs) => {
      awaySince ??= Date.now();
      log.warn(
        `${system} at ${address} cannot be reached: ${describe(error)}. ${advice}Next try in ${retryInMs / 1000} s.`,
      );
    },
  });
  if (awaySince === undefined) return;
  log.info(`${system} at ${address} is back again, after ${Math.round((Date.now() - awaySince) / 1000)} s`);
};

/**
 * Opens what a job's steps touch, and waits while that is away.
 *
 * @throws the reason of `signal` when it is aborted; what `open` throws when that is no `OutageError`
 */
export const untilOpen = <T>(
  open: () => T | Promise<T>,
  { log, signal }: Pick<ReachOptions, "log" | "signal">,
): Promise<T> =>
  untilDone(async () => open(), {
    signal,
    isFinal: (error) => !(error instanceof OutageError),
    onFailure: (error, retryInMs) => log.warn(`${describe(error)}. Next try in ${retryInMs / 1000} s.`),
  });
