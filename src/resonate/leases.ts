import {
  AsyncHeartbeat,
  isSuccess,
  type Logger,
  type Network,
  type PromiseRecord,
  type Request,
  type Response,
  type Send,
} from "@resonatehq/sdk";
import { isOwn } from "./answers.ts";
import { decodeValue } from "./call.ts";
import { requestHead } from "./request.ts";

export interface LeaseOptions {
  /** Unique among all workers. */
  readonly pid: string;
  /** Lease in milliseconds. */
  readonly ttl: number;
  readonly logger: Logger;
}

/** A task, and how often it has been leased: the server counts its version up with each lease. */
export interface Lease {
  readonly id: string;
  readonly version: number;
}

/** The leases of the executions that run in this process: not of those that sleep. */
export interface Leases {
  /** Sends a request to the server, and notes the leases it grants or ends. */
  readonly send: Send;
  /** The leases held now. */
  held(): Lease[];
  /** The version of the lease that is held on an execution. */
  leaseOf(executionId: string): number | undefined;
  /** Resolves once no lease is held. */
  idle(): Promise<void>;
  /** Ends the heartbeats. */
  stop(): void;
}

const isReadable = (promise: PromiseRecord): boolean => {
  try {
    decodeValue(promise.param);
    decodeValue(promise.value);
    return true;
  } catch {
    return false;
  }
};

/** Heartbeats per lease: two may be lost before it expires. */
const HEARTBEATS_PER_LEASE = 3;

/**
 * Keeps the lease of every execution that runs in this process until it is given up.
 *
 * Works around @resonatehq/sdk 0.11.5, which sends heartbeats for executions that reach a worker as messages
 * (Core.onMessage), but not for those that `beginRun` starts, so a step longer than `ttl` would run twice. Here every
 * lease is noted as the server grants it. Can go once `beginRun` does so.
 *
 * @param network what requests go through, be it HTTP or another
 */
export const keepLeases = (network: Pick<Network, "send">, { pid, ttl, logger }: LeaseOptions): Leases => {
  const held = new Map<string, number>();
  const waiting = new Set<() => void>();
  const heartbeat = new AsyncHeartbeat(
    pid,
    ttl / HEARTBEATS_PER_LEASE,
    (request) => network.send(request),
    logger,
  );

  const giveUp = ({ id, version }: Lease) => {
    heartbeat.stop({ id, version });
    if (held.get(id) === version) held.delete(id);
    if (held.size > 0) return;
    for (const resolve of waiting) resolve();
    waiting.clear();
  };

  const note = (request: Request, response: Response) => {
    if (response.kind === "task.create" || response.kind === "task.acquire") {
      if (!isSuccess(response)) return;
      // A timer's task is not worked on: the SDK leaves it without a word, and the server ends it in time.
      if (response.data.promise.tags["resonate:timer"] === "true") return;
      const { task, promise } = response.data;
      if (task?.state !== "acquired") return;
      held.set(task.id, task.version);
      if (isOwn(request, promise) || isReadable(promise)) heartbeat.start(task);
      // The SDK throws at it and leaves it, lease and all.
      else void release(task).catch(() => {});
    }
    if (request.kind === "task.suspend" && isSuccess(response)) giveUp(request.data);
    if (request.kind === "task.fulfill") giveUp(request.data);
  };

  const release = ({ id, version }: Lease) =>
    send({ kind: "task.release", head: requestHead(), data: { id, version } });

  const send: Send = async (typed) => {
    const request: Request = typed;
    try {
      const response = await network.send(typed);
      note(request, response);
      return response;
    } finally {
      // Even unanswered: the SDK has left the execution, and a lease renewed for nobody would never end.
      if (request.kind === "task.release") giveUp(request.data);
    }
  };

  return {
    send,
    leaseOf: (executionId) => held.get(executionId),
    held: () => [...held].map(([id, version]) => ({ id, version })),
    idle: () => {
      const { promise, resolve } = Promise.withResolvers<void>();
      if (held.size === 0) resolve();
      else waiting.add(resolve);
      return promise;
    },
    stop: () => heartbeat.stop(),
  };
};
