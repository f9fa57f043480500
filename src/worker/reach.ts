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

/** Waits until `reach` succeeds, says every time that it does not, and when it does after all. Rejects with the reason of `signal` only. */
export const untilReachable = (
  { system, address, log, signal }: ReachOptions,
  reach: () => Promise<void>,
): Promise<void> => {
  let awaySince: number | undefined;
  const reached = retryUntilDone(reach, {
    signal,
    minDelayMs: 1000,
    onFailure: (error, retryInMs) => {
      awaySince ??= Date.now();
      log.warn(
        `${system} at ${address} cannot be reached: ${describe(error)}. Start one with 'npm run stack' or 'docker compose up -d'. Next try in ${retryInMs / 1000} s.`,
      );
    },
  }).then(() => {
    if (awaySince === undefined) return;
    log.info(`${system} at ${address} is back again, after ${Math.round((Date.now() - awaySince) / 1000)} s`);
  });
  // A try may take seconds: a stop does not wait for it.
  return Promise.race([reached, aborted(signal).then(() => signal.throwIfAborted())]);
};

/** Asks a Resonate server whether it is up. Rejects when it is not. */
export const ping = async (url: string): Promise<void> => {
  const response = await fetch(`${url}/health`, { signal: AbortSignal.timeout(5000) });
  await response.body?.cancel();
  if (!response.ok) throw new Error(`expected status 200 from ${url}/health, got ${response.status}`);
};
