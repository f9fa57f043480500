/**
 * A second signal so soon after the first is the same one, in milliseconds: a terminal and npm both pass Ctrl-C on.
 */
const SAME_SIGNAL_MS = 500;

/** What a supervising process sends to ask for a stop. */
export const STOP_MESSAGE = "stop";

/**
 * SIGINT and SIGTERM as one abort: the first aborts `signal`, a later second one ends the process at once. A process
 * that was forked by another one also stops when that asks for it, or is gone.
 */
export const onStopSignals = (): { signal: AbortSignal } & Disposable => {
  const stop = new AbortController();
  let stoppedAt = 0;
  const begin = (reason: string) => {
    if (stop.signal.aborted) return;
    stoppedAt = performance.now();
    stop.abort(new Error(reason));
  };
  const onSignal = (name: NodeJS.Signals) => {
    const isSecond = stop.signal.aborted && performance.now() - stoppedAt > SAME_SIGNAL_MS;
    if (isSecond) process.exit(name === "SIGINT" ? 130 : 143);
    begin(`got ${name}`);
  };
  const onMessage = (message: unknown) => {
    if (message === STOP_MESSAGE) begin("was asked to stop");
  };
  const onOrphaned = () => begin("the process that started this one is gone");
  process.on("SIGINT", onSignal).on("SIGTERM", onSignal);
  if (process.connected) process.on("message", onMessage).on("disconnect", onOrphaned);
  else if (isOrphan()) onOrphaned();
  return {
    signal: stop.signal,
    [Symbol.dispose]: () => {
      process.off("SIGINT", onSignal).off("SIGTERM", onSignal);
      process.off("message", onMessage).off("disconnect", onOrphaned);
    },
  };
};

/** Whether the process that forked this one is gone. */
export const isOrphan = (): boolean => process.connected === false;

/** What `work` comes to, or the reason of `signal` once that is aborted: a stop does not wait for work that takes long. */
export const unlessAborted = async <T>(work: Promise<T>, signal: AbortSignal): Promise<T> => {
  const stopped = Promise.withResolvers<never>();
  const onAbort = () => stopped.reject(signal.reason);
  signal.addEventListener("abort", onAbort, { once: true });
  try {
    return await Promise.race([work, stopped.promise]);
  } finally {
    signal.removeEventListener("abort", onAbort);
  }
};

/** Resolves once `signal` is aborted. */
export const aborted = (signal: AbortSignal): Promise<void> =>
  new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener("abort", () => resolve(), { once: true });
  });
