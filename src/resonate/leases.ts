import { randomUUID } from "node:crypto";
import { setTimeout } from "node:timers/promises";
import {
  AsyncHeartbeat,
  isSuccess,
  type Network,
  type Request,
  type Response,
  type Send,
  type TaskHeartbeatReq,
} from "@resonatehq/sdk";
import { doneWithin } from "../support/retry.ts";
import { createSemaphore } from "../support/semaphore.ts";
import { createPollSource, type PollSourceOptions } from "./events.ts";
import { createHttpSend } from "./http-send.ts";

/** A Resonate network that keeps the lease of every execution that runs in this process, and can hand them back. */
export interface LeasedNetwork extends Network {
  /** Executions that hold a lease here: those that run, not those that sleep. */
  readonly held: number;
  /**
   * Stops taking executions, lets running steps end for at most `graceMs`, and hands back the leases of those that
   * do not, so that another worker goes on at once. Executions stop at their next checkpoint.
   */
  drain(graceMs: number): Promise<void>;
}

/** Thrown at the checkpoint at which a draining worker stops an execution; the SDK then gives up its lease. */
class DrainingError extends Error {
  readonly code = "DRAINING";
  readonly canRetry = true;
  override name = "DrainingError";
}

/**
 * A server learns a moment later that a worker's connection is closed. What is handed back before that it sends to
 * this worker still, where it is lost, and to another one only after 30 s.
 */
const GONE_MS = 250;

/**
 * Requests at once that create steps and sleeps, while no execution is being begun; the more are, the fewer. Each asks
 * for its first step as soon as it is begun: a backlog's would leave no room for the messages that are still to begin.
 */
const MAX_CREATING = 32;

interface LeasedNetworkOptions extends PollSourceOptions {
  /** Lease in milliseconds; it is renewed three times as often. */
  readonly ttl: number;
  /** Told of each execution that has ended, as far as it passes here: not of those that end elsewhere. */
  readonly onEnded?: (id: string) => void;
}

/**
 * Connects to a Resonate server at `url`. Works around two gaps in @resonatehq/sdk 0.11.5:
 *
 * It sends heartbeats for executions that reach a worker as messages (Core.onMessage), but not for those that
 * `beginRun` starts, so a step longer than `ttl` would run twice. Here every lease is noted as the server grants it
 * and renewed until it is given up. Can go once `beginRun` does so.
 *
 * It puts all of a process's executions in one heartbeat, which servers after 0.9.8 refuse ("All tasks must belong to
 * the same origin"). Here each record has a heartbeat of its own. Can go once AsyncHeartbeat does so.
 */
export const connectLeased = ({
  url,
  token,
  group,
  pid,
  ttl,
  logger,
  onEnded = () => {},
}: LeasedNetworkOptions): LeasedNetwork => {
  const source = createPollSource({ url, token, group, pid, logger });
  const http = createHttpSend({ url, token, logger });
  let beginning = 0;
  const creating = createSemaphore(() => Math.ceil(MAX_CREATING / (1 + beginning)));
  /** Versions of the tasks whose lease is held here, by id. The server counts a version up with each lease. */
  const held = new Map<string, number>();
  let draining = false;
  let gone = Promise.resolve();
  /** The protocol's version, which the SDK does not export, as the SDK's own requests have it. */
  let protocol = "";
  let onGivenUp = () => {};

  const giveUp = ({ id, version }: { id: string; version: number }) => {
    heartbeat.stop({ id, version });
    if (held.get(id) === version) held.delete(id);
    onGivenUp();
  };

  const note = (request: Request, response: Response) => {
    if (response.kind === "task.create" || response.kind === "task.acquire") {
      // A timer's task is not worked on: the SDK leaves it without a word, and the server ends it in time.
      const isTimer = isSuccess(response) && response.data.promise.tags["resonate:timer"] === "true";
      const task = isSuccess(response) && !isTimer ? response.data.task : undefined;
      if (task?.state === "acquired") held.set(task.id, task.version);
      if (task?.state === "acquired" && response.kind === "task.create") heartbeat.start(task);
      if (task?.state === "fulfilled") onEnded(task.id);
    }
    if (request.kind === "task.suspend" && isSuccess(response)) giveUp(request.data);
    if (request.kind === "task.fulfill") {
      giveUp(request.data);
      if (isSuccess(response)) onEnded(request.data.id);
    }
  };

  /** Sends all but the first record's part of a heartbeat on its own, and leaves that part in `request`. */
  const narrowToOneOrigin = async (request: TaskHeartbeatReq) => {
    const byOrigin = Map.groupBy(request.data.tasks, ({ id }) => id.split(":", 1)[0]);
    const [first = [], ...others] = byOrigin.values();
    request.data.tasks = first;
    const { kind, head, data } = request;
    await Promise.allSettled(
      others.map((tasks) =>
        http.send({ kind, head: { ...head, corrId: randomUUID() }, data: { ...data, tasks } }),
      ),
    );
  };

  const send: Send = async (typed) => {
    const request: Request = typed;
    protocol = request.head.version;
    if (request.kind === "task.fence" && request.data.action.kind === "promise.create") {
      await creating.acquire();
      try {
        if (draining) throw new DrainingError("this worker stops: another one goes on from here");
        return await http.send(typed);
      } finally {
        creating.release();
      }
    }
    if (draining && request.kind === "task.release") await gone;
    if (request.kind === "task.create") beginning += 1;
    try {
      if (request.kind === "task.heartbeat") await narrowToOneOrigin(request);
      const response = await http.send(typed);
      note(request, response);
      return response;
    } finally {
      if (request.kind === "task.create") beginning -= 1;
      // Even unanswered: the SDK has left the execution, and a lease renewed for nobody would never end.
      if (request.kind === "task.release") giveUp(request.data);
    }
  };

  const heartbeat = new AsyncHeartbeat(pid, ttl / 3, send, logger);

  const release = (task: { id: string; version: number }) =>
    send({
      kind: "task.release",
      head: { corrId: randomUUID(), version: protocol },
      data: task,
    });

  return {
    unicast: source.unicast,
    anycast: source.anycast,
    match: (target) => source.match(target),
    init: () => source.init(),
    stop: async () => {
      heartbeat.stop();
      await source.stop();
      http[Symbol.dispose]();
    },
    recv: (callback) => source.onReceive(callback),
    send,
    get held() {
      return held.size;
    },
    drain: async (graceMs) => {
      draining = true;
      // First of all: the server prefers a connected owner for what is handed back.
      await source.stop();
      gone = setTimeout(GONE_MS);
      // Executions that were on their way here have come by then, and are held.
      await gone;
      const { promise: idle, resolve } = Promise.withResolvers<void>();
      onGivenUp = () => held.size === 0 && resolve();
      onGivenUp();
      await doneWithin(idle, graceMs);
      await Promise.allSettled([...held].map(([id, taskVersion]) => release({ id, version: taskVersion })));
    },
  };
};
