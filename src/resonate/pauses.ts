import { isSuccess, type Message, type Request, type Response } from "@resonatehq/sdk";
import type { Log } from "../support/log.ts";

const FIRST_PAUSE_MS = 1000;
const MAX_PAUSE_MS = 30_000;
/** The most executions that are remembered: beyond it the oldest is forgotten, and tried again at once. */
const MAX_REMEMBERED = 10_000;

interface Pause {
  readonly ms: number;
  /** When it is over, in milliseconds since 1970. */
  readonly until: number;
  /** A message for the execution waits for its end. */
  isAwaited: boolean;
}

/** Pauses between the tries of executions that cannot go on in this process. */
export interface Pauses {
  /** To be told of each request and its answer; `undefined` for a request that was not answered. */
  readonly onAnswer: (request: Request, response: Response | undefined) => void;
  /** Leaves an execution that is about to be handed back to other workers, for the longest pause. */
  leave(executionId: string): void;
  /** Hands a message on: at once, or when the pause of its execution is over. */
  readonly deliver: (message: Message, callback: (message: Message) => void) => void;
  /** Forgets all pauses: nothing more is delivered. */
  stop(): void;
}

/** The execution that a request is made for. */
const executionOf = (request: Request): string | undefined => {
  const { kind, data } = request;
  return kind === "task.fence" || kind === "task.suspend" || kind === "task.fulfill" ? data.id : undefined;
};

/**
 * Keeps an execution that cannot go on here from being tried again at once. The SDK hands it back (an unknown version
 * of a function, a changed order of steps, an execution that cannot be read), and the server hands it out again in the
 * same moment: several hundred times a second. Here the next message for it waits, 1 s and then twice as long each
 * time, up to 30 s. Meanwhile no lease is held, so any other worker may take it.
 *
 * What is handed back for a failed request is not meant: that is an outage, or the execution is another's by now.
 */
export const createPauses = (log: Log, now: () => number = Date.now): Pauses => {
  const pauses = new Map<string, Pause>();
  /** Executions of which a request failed since they last came further. */
  const troubled = new Set<string>();
  const trouble = (id: string) => {
    troubled.add(id);
    const [oldest] = troubled;
    if (troubled.size > MAX_REMEMBERED && oldest !== undefined) troubled.delete(oldest);
  };
  const timers = new Set<NodeJS.Timeout>();
  let isStopped = false;

  const pause = (id: string, ms: number) => {
    pauses.delete(id);
    pauses.set(id, { ms, until: now() + ms, isAwaited: false });
    const [oldest] = pauses.keys();
    if (pauses.size > MAX_REMEMBERED && oldest !== undefined) pauses.delete(oldest);
  };
  const begin = (id: string) => {
    if (isStopped) return;
    const before = pauses.get(id)?.ms;
    const ms = before === undefined ? FIRST_PAUSE_MS : Math.min(before * 2, MAX_PAUSE_MS);
    pause(id, ms);
    log.warn(
      { executionId: id },
      `execution ${id} cannot go on here and was handed back: next try in ${ms / 1000} s`,
    );
  };

  return {
    onAnswer: (request, response) => {
      if (request.kind === "task.release") {
        if (!troubled.delete(request.data.id) && response !== undefined && isSuccess(response))
          begin(request.data.id);
        return;
      }
      const id = executionOf(request);
      if (id === undefined) return;
      if (response === undefined || response.head.status === 404 || response.head.status === 409) trouble(id);
      else troubled.delete(id);
      // It has come further than its last checkpoint.
      if (response !== undefined && isSuccess(response) && request.kind !== "task.fence") pauses.delete(id);
    },
    leave: (id) => {
      trouble(id);
      pause(id, MAX_PAUSE_MS);
    },
    deliver: (message, callback) => {
      const own = message.kind === "execute" ? pauses.get(message.data.task.id) : undefined;
      const ms = (own?.until ?? 0) - now();
      if (own === undefined || ms <= 0) return callback(message);
      // The server sends a message again that is not answered: one of them is enough.
      if (own.isAwaited) return;
      own.isAwaited = true;
      const timer = setTimeout(() => {
        timers.delete(timer);
        callback(message);
      }, ms);
      timers.add(timer);
    },
    stop: () => {
      isStopped = true;
      for (const timer of timers) clearTimeout(timer);
      pauses.clear();
    },
  };
};
