/** So many at once, the others in order of arrival. */
export interface Semaphore {
  /** Waits for a place; rejects with the reason of `signal` when that is aborted first. */
  acquire(signal?: AbortSignal): Promise<void>;
  /** Gives a place back. */
  release(): void;
}

/** A semaphore with `places` places; where their number changes, a release lets in as many as there is room for then. */
export const createSemaphore = (places: number | (() => number)): Semaphore => {
  const limit = typeof places === "number" ? () => places : places;
  const waiting = new Set<() => void>();
  let taken = 0;
  return {
    acquire: async (signal) => {
      signal?.throwIfAborted();
      if (taken < limit()) {
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
      taken -= 1;
      for (const enter of waiting) {
        if (taken >= limit()) return;
        waiting.delete(enter);
        taken += 1;
        enter();
      }
    },
  };
};
