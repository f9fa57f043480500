/**
 * A second signal so soon after the first is the same one, in milliseconds: a terminal and npm both pass Ctrl-C on.
 */
const SAME_SIGNAL_MS = 500;

/** SIGINT and SIGTERM as one abort: the first aborts `signal`, a later second one ends the process at once. */
export const onStopSignals = (): { signal: AbortSignal } & Disposable => {
  const stop = new AbortController();
  let stoppedAt = 0;
  const onSignal = (name: NodeJS.Signals) => {
    if (!stop.signal.aborted) {
      stoppedAt = performance.now();
      stop.abort(new Error(`got ${name}`));
    } else if (performance.now() - stoppedAt > SAME_SIGNAL_MS) process.exit(name === "SIGINT" ? 130 : 143);
  };
  process.on("SIGINT", onSignal).on("SIGTERM", onSignal);
  return {
    signal: stop.signal,
    [Symbol.dispose]: () => {
      process.off("SIGINT", onSignal).off("SIGTERM", onSignal);
    },
  };
};

/** Resolves once `signal` is aborted. */
export const aborted = (signal: AbortSignal): Promise<void> =>
  new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener("abort", () => resolve(), { once: true });
  });
