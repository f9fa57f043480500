import { describe, toError } from "./errors.ts";
import { SettingsError } from "./settings.ts";
import { onStopSignals } from "./signals.ts";

export interface CommandOptions {
  /** Printed for `--help`, in place of running the command. */
  readonly help: string | (() => string | Promise<string>);
  /** A worker works on when nobody reads what it prints; any other command stops. */
  readonly needsReader?: boolean;
}

/**
 * Runs a command: its `signal` is aborted by the first SIGINT or SIGTERM, and when nobody reads its output any more; a
 * second signal ends the process at once. The process exits with 0 when `main` returns or was told to stop, with 1 and
 * one line per fault when it fails.
 */
export const runCommand = async (
  main: (signal: AbortSignal) => Promise<void>,
  { help, needsReader = true }: CommandOptions,
): Promise<never> => {
  const unread = new AbortController();
  for (const stream of [process.stdout, process.stderr]) {
    // Without a listener, a reader that goes away ends the process with a stack trace.
    stream.on("error", (error) => {
      if (needsReader) unread.abort(error);
    });
  }
  const signal = AbortSignal.any([onStopSignals().signal, unread.signal]);
  try {
    if (process.argv.slice(2).some((word) => word === "--help" || word === "-h")) {
      console.log(typeof help === "string" ? help : await help());
      process.exit(0);
    }
    await main(signal);
    process.exit();
  } catch (error) {
    if (signal.aborted && (error === signal.reason || unread.signal.aborted)) process.exit(0);
    console.error(
      error instanceof SettingsError || isUsage(error) ? toError(error).message : describe(error),
    );
    process.exit(1);
  }
};

/** What `parseArgs` of `node:util` throws at words it does not know. */
const isUsage = (error: unknown): boolean =>
  error instanceof Error && "code" in error && String(error.code).startsWith("ERR_PARSE_ARGS");
