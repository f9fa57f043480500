export interface BatchOptions<Q, A> {
  /**
   * Runs requests together. Gives the answers in the order of the requests, `undefined` for one that has none; where it
   * throws, none has one, and nothing was done.
   */
  readonly run: (requests: readonly Q[]) => Promise<readonly (A | undefined)[]>;
  /** Whether an error would meet every other request, too: then none is tried again. */
  readonly isOutage: (error: unknown) => boolean;
  /** Requests that run together at most. */
  readonly maxSize?: number;
  /** Batches that run at the same time at most. */
  readonly maxRunning?: number;
  /** How long further requests may join the first one: by default to the end of a turn of the event loop. */
  readonly gather?: (run: () => void) => void;
}

interface Waiting<Q, A> {
  readonly request: Q;
  readonly resolve: (answer: A) => void;
  readonly reject: (error: unknown) => void;
}

/**
 * Requests that wait at the same time run in one batch. Where one of a batch fails it runs alone again, and so do all
 * when the batch as a whole fails: a bad request does no harm to others.
 */
export const createBatches = <Q, A>(options: BatchOptions<Q, A>): ((request: Q) => Promise<A>) => {
  const { run, isOutage, gather = setImmediate } = options;
  const { maxSize = Number.POSITIVE_INFINITY, maxRunning = Number.POSITIVE_INFINITY } = options;
  let waiting: Waiting<Q, A>[] = [];
  let running = 0;
  let isDue = false;

  const rejectAll = (batch: readonly Waiting<Q, A>[], error: unknown) => {
    for (const one of batch) one.reject(error);
  };
  const runBatch = async (batch: readonly Waiting<Q, A>[]): Promise<void> => {
    const unanswered: Waiting<Q, A>[] = [];
    try {
      const answers = await run(batch.map(({ request }) => request));
      for (const [index, one] of batch.entries()) {
        const answer = answers[index];
        if (answer === undefined) unanswered.push(one);
        else one.resolve(answer);
      }
      if (batch.length === 1) rejectAll(unanswered, new Error("expected an answer, got none"));
    } catch (error) {
      if (isOutage(error)) {
        rejectAll([...batch, ...waiting], error);
        waiting = [];
        return;
      }
      if (batch.length === 1) rejectAll(batch, error);
      else unanswered.push(...batch);
    }
    if (batch.length > 1) for (const one of unanswered) await runBatch([one]);
  };
  const runDue = () => {
    isDue = false;
    while (running < maxRunning && waiting.length > 0) {
      running += 1;
      void runBatch(waiting.splice(0, maxSize)).finally(() => {
        running -= 1;
        runDue();
      });
    }
  };
  return (request) => {
    const { promise, resolve, reject } = Promise.withResolvers<A>();
    waiting.push({ request, resolve, reject });
    if (!isDue) gather(runDue);
    isDue = true;
    return promise;
  };
};
