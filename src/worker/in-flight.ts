import { createSemaphore } from "../support/semaphore.ts";

/** Executions begun by this worker that have not ended yet, wherever they run now. */
export interface InFlight extends Disposable {
  readonly size: number;
  /** Waits until there is room for `id`. An id that is in flight already takes no room of its own. */
  enter(id: string, signal: AbortSignal): Promise<void>;
  /** Gives the room of `id` back, if it has any. */
  leave(id: string): void;
  /** For an execution that ends elsewhere: `ended` is called once it has been in flight for long. */
  watch(id: string, ended: () => Promise<unknown>): void;
}

/** To be told of an end costs a request, and most executions end where they began, which is seen for nothing. */
const WATCH_AFTER_MS = 60_000;
const SWEEP_MS = 5000;

interface Entry {
  readonly since: number;
  ended?: () => Promise<unknown>;
}

/** Room for `max` executions. */
export const createInFlight = (max: number, now: () => number): InFlight => {
  const room = createSemaphore(max);
  /** In order of arrival. */
  const entries = new Map<string, Entry>();

  const leave = (id: string) => {
    if (entries.delete(id)) room.release();
  };
  const sweep = setInterval(() => {
    for (const [id, entry] of entries) {
      if (now() - entry.since < WATCH_AFTER_MS) break;
      const { ended } = entry;
      delete entry.ended;
      // However it ended, its room is free; the SDK asks again by itself while the server cannot be reached.
      const free = () => {
        if (entries.get(id) === entry) leave(id);
      };
      ended?.().then(free, free);
    }
  }, SWEEP_MS);

  return {
    get size() {
      return entries.size;
    },
    enter: async (id, signal) => {
      if (entries.has(id)) return;
      await room.acquire(signal);
      if (entries.has(id)) room.release();
      else entries.set(id, { since: now() });
    },
    leave,
    watch: (id, ended) => {
      const entry = entries.get(id);
      if (entry) entry.ended = ended;
    },
    [Symbol.dispose]: () => clearInterval(sweep),
  };
};
