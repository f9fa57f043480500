import { describe } from "./errors.ts";
import { SettingsError } from "./settings.ts";
import { onStopSignals } from "./signals.ts";

/**
 * Runs a command: its `signal` is aborted by the first SIGINT or SIGTERM, a second one ends the process at once.
 * The process exits with 0 when `main` returns or was told to stop, with 1 and one line per fault when it fails.
 */
export const runCommand = async (main: (signal: AbortSignal) => Promise<void>): Promise<never> => {
  const { signal } = onStopSignals();
  try {
    await main(signal);
    process.exit();
  } catch (error) {
    if (signal.aborted && error === signal.reason) process.exit(0);
    console.error(error instanceof SettingsError ? error.message : describe(error));
    process.exit(1);
  }
};
