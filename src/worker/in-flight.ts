import { createSemaphore } from "../support/semaphore.ts";

/** Executions begun by this worker that have not ended yet, wherever they run now. */
export interface InFlight {
  readonly size: number;
  /** Waits until there is room for `id`. An id that is in flight already takes no room of its own. */
  enter(id: string, signal: AbortSignal): Promise<void>;
  /** Gives the room of `id` back, if it has any. */
  leave(id: string): void;
  /** `ended` tells of the end of `id`. It is asked once the execution may end elsewhere. */
  watch(id: string, ended: () => Promise<unknown>): void;
  /** The execution sleeps, runs elsewhere or was handed back: from here on any worker may end it. */
  mayEndElsewhere(id: string): void;
}

interface Entry {
  ended?: () => Promise<unknown>;
  endsElsewhere: boolean;
}

/**
 * Room for `max` executions. One that ends without a pause ends in the worker that began it, which notices at no cost.
 * For any other the server is asked, once, to tell of its end.
 */
export const createInFlight = (max: number): InFlight => {
  const room = createSemaphore(max);
  const entries = new Map<string, Entry>();

  const leave = (id: string) => {
    if (entries.delete(id)) room.release();
  };
  const askOnce = (id: string, entry: Entry) => {
    const { ended } = entry;
    if (!entry.endsElsewhere || ended === undefined) return;
    delete entry.ended;
    // However it ended, its room is free; the SDK asks again by itself while the server cannot be reached.
    const free = () => {
      if (entries.get(id) === entry) leave(id);
    };
    ended().then(free, free);
  };

  return {
    get size() {
      return entries.size;
    },
    enter: async (id, signal) => {
      if (entries.has(id)) return;
      await room.acquire(signal);
      if (entries.has(id)) room.release();
      else entries.set(id, { endsElsewhere: false });
    },
    leave,
    watch: (id, ended) => {
      const entry = entries.get(id);
      if (!entry) return;
      entry.ended = ended;
      askOnce(id, entry);
    },
    mayEndElsewhere: (id) => {
      const entry = entries.get(id);
      if (!entry) return;
      entry.endsElsewhere = true;
      askOnce(id, entry);
    },
  };
};
