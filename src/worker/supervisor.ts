import { setTimeout } from "node:timers/promises";
import type { Lease } from "../resonate/leases.ts";
import { describe } from "../support/errors.ts";
import type { Log } from "../support/log.ts";
import { doneWithin } from "../support/retry.ts";
import type { Report } from "./report.ts";
import { STOP_OVERRUN_MS } from "./settings.ts";

/** Delays before a worker is started again, in milliseconds: they double from death to death. */
const FIRST_DELAY_MS = 1000;
const MAX_DELAY_MS = 30_000;
/** After so long a life the next delay is the first one again, in milliseconds. */
const HEALTHY_MS = 30_000;
/** A worker is killed so long after its stop should have ended, in milliseconds. */
const KILL_DELAY_MS = 100;

/** A worker in a process of its own. */
export interface ChildWorker {
  readonly pid: number;
  /** Asks for the graceful stop. */
  stop(): void;
  /** Ends it at once. */
  kill(): void;
  /** Its exit code or the signal that ended it, once it has ended and all it had reported was heard. */
  readonly ended: Promise<number | NodeJS.Signals>;
}

export interface SupervisorOptions {
  /** How many workers there are to be. */
  readonly count: number;
  /** Starts the worker of a place, from 0. */
  readonly start: (place: number, onReport: (report: Report) => void) => ChildWorker;
  /** Hands back what a dead worker held; resolves with how many leases went back. Does not throw. */
  readonly handBack: (leases: readonly Lease[]) => Promise<number>;
  /** Begins to leave the consumer group for a dead member. */
  readonly leaveGroup: (memberId: string) => void;
  /** How long running steps may take to end at a stop, in milliseconds. */
  readonly graceMs: number;
  readonly log: Log;
  /** Stops all workers. */
  readonly signal: AbortSignal;
  readonly now?: () => number;
}

/** The first workers could not start. Where none has, a retry would only say the same again. */
class StartError extends Error {
  readonly code = "WORKER_START";
  readonly canRetry = false;
  override name = "StartError";
}

/**
 * Keeps `count` workers running until `signal` is aborted and all have stopped. One that dies is started again, and
 * what it held is handed back at once: other workers go on with it before its leases expire. The hand-back leaves no
 * note, so it counts as a takeover (see takeovers.ts): a message that kills its workers becomes a dead letter.
 *
 * @throws {StartError} when a worker ends by itself before any worker has begun to work
 */
export const supervise = async (options: SupervisorOptions): Promise<void> => {
  const { count, start, handBack, leaveGroup, graceMs, log, now = () => performance.now() } = options;
  const failed = new AbortController();
  const signal = AbortSignal.any([options.signal, failed.signal]);
  let hasBegun = false;

  const runOnce = async (place: number) => {
    const held = new Map<string, number>();
    let member: string | undefined;
    const onReport = ({ leases, memberId }: Report) => {
      hasBegun = true;
      member = memberId ?? member;
      for (const [id, version] of leases) {
        if (version > 0) held.set(id, version);
        else held.delete(id);
      }
    };
    let child: ChildWorker;
    try {
      child = start(place, onReport);
    } catch (error) {
      // Memory may be short for the moment.
      if (!hasBegun) throw error;
      return `no process for a worker: ${describe(error)}`;
    }
    const stop = async () => {
      child.stop();
      if (!(await doneWithin(child.ended, graceMs + STOP_OVERRUN_MS + KILL_DELAY_MS))) child.kill();
    };
    signal.addEventListener("abort", stop);
    const end = await child.ended;
    signal.removeEventListener("abort", stop);

    if (signal.aborted && (end === 0 || (held.size === 0 && member === undefined))) return;
    if (!hasBegun && !signal.aborted && typeof end === "number" && end !== 0)
      throw new StartError(`expected worker ${child.pid} to start, got its end with exit code ${end}`);
    const leases = [...held].map(([id, version]) => ({ id, version }));
    if (member !== undefined) leaveGroup(member);
    const back = await handBack(leases);
    const share = back === leases.length ? `${back}` : `${back} of ${leases.length}`;
    return `worker ${child.pid} died (${typeof end === "number" ? `exit code ${end}` : end}); handed back ${share} leases`;
  };

  const keepRunning = async (place: number) => {
    let delay = FIRST_DELAY_MS;
    while (!signal.aborted) {
      const startedAt = now();
      const death = await runOnce(place);
      if (now() - startedAt >= HEALTHY_MS) delay = FIRST_DELAY_MS;
      if (death !== undefined)
        log.warn(signal.aborted ? death : `${death}; starting again in ${delay / 1000} s`);
      if (!signal.aborted) await setTimeout(delay, undefined, { signal }).catch(() => {});
      delay = Math.min(delay * 2, MAX_DELAY_MS);
    }
  };

  const places = Array.from({ length: count }, (_, place) =>
    keepRunning(place).catch((error: unknown) => {
      failed.abort(error);
      throw error;
    }),
  );
  const failure = (await Promise.allSettled(places)).find(({ status }) => status === "rejected");
  if (failure?.status === "rejected") throw failure.reason;
};
