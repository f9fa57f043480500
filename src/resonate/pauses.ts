import { isSuccess, type Message, type Request, type Response } from "@resonatehq/sdk";
import type { Log } from "../support/log.ts";
import { createSemaphore } from "../support/semaphore.ts";
import type { Lease } from "./leases.ts";

const FIRST_PAUSE_MS = 1000;
const MAX_PAUSE_MS = 30_000;
/** Before what was left to others, and is sent to this worker again, is passed on, in milliseconds. */
const PASS_ON_MS = 1000;
/** The most executions that are remembered: beyond it the oldest is forgotten, and tried again at once. */
const MAX_REMEMBERED = 10_000;

interface Pause {
  readonly ms: number;
  /** When it is over, in milliseconds since 1970. */
  readonly until: number;
  /** It was left to other workers. */
  readonly isLeft: boolean;
  /** A message for the execution waits for its end. */
  isAwaited: boolean;
}

/** Pauses between the tries of executions that cannot go on in this process. */
export interface Pauses {
  /** To be told of each request before it is sent: what is handed back may be sent here before the answer comes. */
  readonly onRequest: (request: Request) => void;
  /** To be told of each request and its answer; `undefined` for a request that was not answered. */
  readonly onAnswer: (request: Request, response: Response | undefined) => void;
  /**
   * Leaves an execution that is about to be handed back to other workers, for the longest pause: what comes here
   * meanwhile is passed on.
   */
  leave(executionId: string): void;
  /** Hands a message on: at once, or when the pause of its execution is over. */
  readonly deliver: (message: Message, callback: (message: Message) => void) => void;
  /** Forgets all pauses: what waits is not delivered. */
  stop(): void;
}

export interface PausesOptions {
  readonly log: Log;
  /** Hands a task that a message offers back untouched, so that the server chooses a worker anew. */
  readonly passOn: (task: Lease) => Promise<void>;
  /** Milliseconds since 1970. */
  readonly now?: () => number;
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
 *
 * The server chooses a worker by chance, and may choose the one that has just left an execution to others, time and
 * again. So that one passes it on, one execution after the other: an outage that all workers share must not become a
 * load for the server.
 */
export const createPauses = ({ log, passOn, now = Date.now }: PausesOptions): Pauses => {
  const pauses = new Map<string, Pause>();
  /** Executions of which a request failed since they last came further. */
  const troubled = new Set<string>();
  const trouble = (id: string) => {
    troubled.add(id);
    const [oldest] = troubled;
    if (troubled.size > MAX_REMEMBERED && oldest !== undefined) troubled.delete(oldest);
  };
  const timers = new Set<NodeJS.Timeout>();
  const turn = createSemaphore(1);
  let isStopped = false;

  const pause = (id: string, ms: number, isLeft: boolean) => {
    pauses.delete(id);
    pauses.set(id, { ms, until: now() + ms, isLeft, isAwaited: false });
    const [oldest] = pauses.keys();
    if (pauses.size > MAX_REMEMBERED && oldest !== undefined) pauses.delete(oldest);
  };
  const after = (ms: number, work: () => void) => {
    const timer = setTimeout(() => {
      timers.delete(timer);
      work();
    }, ms);
    timers.add(timer);
  };

  return {
    onRequest: ({ kind, data }) => {
      if (kind !== "task.release" || isStopped || troubled.has(data.id)) return;
      const before = pauses.get(data.id)?.ms;
      pause(data.id, before === undefined ? FIRST_PAUSE_MS : Math.min(before * 2, MAX_PAUSE_MS), false);
    },
    onAnswer: (request, response) => {
      if (request.kind === "task.release") {
        const { id } = request.data;
        const ms = pauses.get(id)?.ms ?? 0;
        if (troubled.delete(id) || isStopped || response === undefined || !isSuccess(response)) return;
        log.warn(
          { executionId: id },
          `execution ${id} cannot go on here and was handed back: next try in ${ms / 1000} s`,
        );
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
      pause(id, MAX_PAUSE_MS, true);
    },
    deliver: (message, callback) => {
      if (message.kind !== "execute") return callback(message);
      const { task } = message.data;
      const own = pauses.get(task.id);
      const ms = (own?.until ?? 0) - now();
      if (own === undefined || ms <= 0) return callback(message);
      // The server sends a message again that is not answered: one of them is enough.
      if (own.isAwaited) return;
      own.isAwaited = true;
      if (!own.isLeft || ms <= PASS_ON_MS) return after(ms, () => callback(message));
      after(PASS_ON_MS, async () => {
        await turn.acquire();
        // A server that does not answer sends the message again.
        if (!isStopped) await passOn(task).catch(() => {});
        own.isAwaited = false;
        turn.release();
      });
    },
    stop: () => {
      isStopped = true;
      for (const timer of timers) clearTimeout(timer);
      pauses.clear();
    },
  };
};
