import { createSemaphore } from "../support/semaphore.ts";
import type { Begun } from "./begin.ts";

/** Executions begun by this worker that have not ended yet, wherever they run now. */
export interface InFlight {
  readonly size: number;
  /** When the first of them was let in, in milliseconds since 1970; `undefined` where there is none. */
  readonly oldestSince: number | undefined;
  /** Waits until there is room for `id`. An id that is in flight already takes no room of its own. */
  enter(id: string, signal: AbortSignal): Promise<void>;
  /** Gives the room of `id` back, if it has any. */
  leave(id: string): void;
  /** Notes how `id` was begun, and what tells of its end: that is asked once the execution may end elsewhere. */
  watch(id: string, text: string, begun: Pick<Begun, "ended">): void;
  /** The execution sleeps, runs elsewhere or was handed back: from here on any worker may end it. */
  mayEndElsewhere(id: string): void;
  /** What each was begun with, by id. */
  begun(): Map<string, string>;
}

interface Entry {
  readonly since: number;
  text?: string;
  ended?: Begun["ended"];
  endsElsewhere: boolean;
}

/**
 * Room for `max` executions. One that ends without a pause ends in the worker that began it, which notices at no cost.
 * For any other the server is asked, once, to tell of its end.
 */
export const createInFlight = (max: number, now: () => number = Date.now): InFlight => {
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
      if (entries.get(id) === entry && entry.ended === undefined) leave(id);
    };
    ended().then(free, free);
  };

  return {
    get size() {
      return entries.size;
    },
    get oldestSince() {
      // A map keeps the order in which its entries came.
      return entries.values().next().value?.since;
    },
    enter: async (id, signal) => {
      if (entries.has(id)) return;
      await room.acquire(signal);
      if (entries.has(id)) room.release();
      else entries.set(id, { since: now(), endsElsewhere: false });
    },
    leave,
    watch: (id, text, { ended }) => {
      const entry = entries.get(id);
      if (!entry) return;
      entry.text = text;
      entry.ended = ended;
      askOnce(id, entry);
    },
    mayEndElsewhere: (id) => {
      const entry = entries.get(id);
      if (!entry) return;
      entry.endsElsewhere = true;
      askOnce(id, entry);
    },
    begun: () =>
      new Map([...entries].flatMap(([id, { text }]) => (text === undefined ? [] : [[id, text] as const]))),
  };
};
