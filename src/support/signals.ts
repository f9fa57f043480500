/** SIGINT and SIGTERM as one abort: the first aborts `signal`, the second ends the process at once. */
export const onStopSignals = (): { signal: AbortSignal } & Disposable => {
  const stop = new AbortController();
  const onSignal = (name: NodeJS.Signals) => {
    if (stop.signal.aborted) process.exit(name === "SIGINT" ? 130 : 143);
    stop.abort(new Error(`got ${name}`));
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
