import { setTimeout } from "node:timers/promises";

/** The error that shows retries at work. The next attempt may succeed. */
export class SimulatedError extends Error {
  readonly code = "SIMULATED";
  readonly canRetry = true;
  override name = "SimulatedError";
}

export interface Trouble {
  readonly SIMULATED_LATENCY_MS: number;
  /** Share of batches, 0 to 1, that fail before they begin. */
  readonly SIMULATED_FAILURE_RATE: number;
}

/**
 * Makes a job slow and unreliable, for demonstration: waits, then throws now and then.
 *
 * @param random a number from 0 up to, but not including, 1
 * @throws {SimulatedError}
 */
export const createTrouble =
  ({ SIMULATED_LATENCY_MS, SIMULATED_FAILURE_RATE }: Trouble, random: () => number) =>
  async (recordId: string): Promise<void> => {
    if (SIMULATED_LATENCY_MS > 0) await setTimeout(SIMULATED_LATENCY_MS);
    if (random() < SIMULATED_FAILURE_RATE) {
      throw new SimulatedError(`simulated error while processing record ${recordId}`);
    }
  };
