import { AccessError } from "../support/access-error.ts";
import { describe } from "../support/errors.ts";
import type { Log } from "../support/log.ts";
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
 * Waits until `reach` succeeds, and says every time that it does not.
 *
 * @throws the reason of `signal`, once that is aborted
 * @throws {AccessError} when what is reached refuses this client; other errors of `reach` that no retry can help
 */
export const untilReachable = async (
  { system, address, log, signal }: ReachOptions,
  reach: () => Promise<void>,
): Promise<void> => {
  const reached = retryUntilDone(() => reach().catch(toFinal), {
    signal,
    minDelayMs: 1000,
    onFailure: (error, retryInMs) =>
      log.warn(
        `${system} at ${address} cannot be reached: ${describe(error)}. Start one with 'npm run stack' or 'docker compose up -d'. Next try in ${retryInMs / 1000} s.`,
      ),
  });
  // A try may take seconds: a stop does not wait for it.
  const refusal = await Promise.race([reached, aborted(signal).then(() => signal.throwIfAborted())]);
  if (refusal) throw refusal;
};

/** A refusal, as the end of the tries. @throws any other error */
const toFinal = (error: unknown): AccessError => {
  if (error instanceof AccessError) return error;
  throw error;
};
