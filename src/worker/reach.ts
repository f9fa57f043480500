import { setTimeout } from "node:timers/promises";
import { AccessError } from "../support/access-error.ts";
import { describe, OutageError } from "../support/errors.ts";
import type { Log } from "../support/log.ts";
import { isPostgres } from "../support/postgres.ts";
import { retryUntilDone } from "../support/retry.ts";
import { aborted } from "../support/signals.ts";

export interface ReachOptions {
  /** What is to be reached, and where, as a reader knows it. */
  readonly system: string;
  readonly address: string;
  readonly log: Log;
  /** Ends the wait. */
  readonly signal: AbortSignal;
}

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
  const reached = retryUntilDone(() => reach().catch(toFinal), {
    signal,
    minDelayMs: 1000,
    onFailure: (error, retryInMs) => {
      awaySince ??= Date.now();
      log.warn(
        `${system} at ${address} cannot be reached: ${describe(error)}. ${advice}Next try in ${retryInMs / 1000} s.`,
      );
    },
  });
  // A try may take seconds: a stop does not wait for it.
  const refusal = await Promise.race([reached, aborted(signal).then(() => signal.throwIfAborted())]);
  if (refusal) throw refusal;
  if (awaySince === undefined) return;
  log.info(`${system} at ${address} is back again, after ${Math.round((Date.now() - awaySince) / 1000)} s`);
};

/** A refusal, as the end of the tries. @throws any other error */
const toFinal = (error: unknown): AccessError => {
  if (error instanceof AccessError) return error;
  throw error;
};

/** Longest pause between two tries, in milliseconds. */
const MAX_RETRY_DELAY_MS = 5000;

/**
 * Opens what a job's steps touch, and waits while that is away.
 *
 * @throws the reason of `signal` when it is aborted; what `open` throws when that is no `OutageError`
 */
export const untilOpen = async <T>(
  open: () => T | Promise<T>,
  { log, signal }: Pick<ReachOptions, "log" | "signal">,
): Promise<T> => {
  const stopped = aborted(signal).then((): never => {
    throw signal.reason;
  });
  stopped.catch(() => {});
  for (let delay = 1000; ; delay = Math.min(delay * 2, MAX_RETRY_DELAY_MS)) {
    try {
      return await Promise.race([open(), stopped]);
    } catch (error) {
      if (!(error instanceof OutageError)) throw error;
      log.warn(`${describe(error)}. Next try in ${delay / 1000} s.`);
    }
    await setTimeout(delay, undefined, { signal }).catch(() => signal.throwIfAborted());
  }
};
