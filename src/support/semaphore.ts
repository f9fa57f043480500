/** Lets a limited number in at once; the others wait in order of arrival. */
export interface Semaphore {
  /** Waits for a place; rejects with the reason of `signal` when that is aborted first. */
  acquire(signal?: AbortSignal): Promise<void>;
  /** Gives a place back. */
  release(): void;
}

export const createSemaphore = (places: number): Semaphore => {
  const waiting = new Set<() => void>();
  let taken = 0;
  return {
    acquire: async (signal) => {
      signal?.throwIfAborted();
      if (taken < places) {
        taken += 1;
        return;
      }
      const { promise, resolve, reject } = Promise.withResolvers<void>();
      const onAbort = () => {
        if (waiting.delete(resolve)) reject(signal?.reason);
      };
      waiting.add(resolve);
      signal?.addEventListener("abort", onAbort, { once: true });
      await promise.finally(() => signal?.removeEventListener("abort", onAbort));
    },
    release: () => {
      const [next] = waiting;
      if (next === undefined) taken -= 1;
      else {
        waiting.delete(next);
        next();
      }
    },
  };
};
