import { isSuccess, type Network, type Request, type Response, type Send } from "@resonatehq/sdk";
import type { Log } from "../support/log.ts";
import { dropKnown } from "./answers.ts";
import { createAwaited } from "./awaited.ts";
import { watchClockSkew } from "./clock-skew.ts";
import { passOn } from "./hand-back.ts";
import { createHandOver, type HandOver } from "./hand-over.ts";
import { createHistory, type History } from "./history.ts";
import { keepLeases, type Lease } from "./leases.ts";
import { isPulse } from "./liveness.ts";
import { makeWay } from "./make-way.ts";
import { openTransport } from "./open-transport.ts";
import { createPauses } from "./pauses.ts";
import { failOnRefusal } from "./refusals.ts";
import type { Transport, TransportOptions } from "./transport.ts";

export interface ConnectionOptions extends TransportOptions {
  /** Lease in milliseconds. */
  readonly ttl: number;
  readonly log: Log;
  /** Told of each request and its answer, `undefined` where there was none, and of the milliseconds it took. */
  readonly onAnswer?: (request: Request, response: Response | undefined, ms: number) => void;
  /** See `MessageSource.onReconnected`. */
  readonly onReconnected?: () => void;
  /** Throws when the server refuses what every worker asks of it. */
  readonly assertFit: (send: Send) => Promise<void>;
  /** Called before a lease is given up, which it is whatever becomes of this. */
  readonly beforeRelease?: (lease: Lease) => Promise<void>;
  /** What is to be kept beside what a step of an execution came to. */
  readonly headersFor?: (executionId: string, promiseId: string) => Readonly<Record<string, string>>;
  /** In place of the one that the URL asks for. */
  readonly transport?: Transport | undefined;
}

/** A Resonate network that keeps the lease of every execution that runs in this process, and can hand them back. */
export interface Connection extends Network, Pick<HandOver, "drain" | "handBack"> {
  /** The version of the lease under which an execution runs here, and which is kept. */
  leaseOf(executionId: string): number | undefined;
  /** How many executions run here, under a lease that is kept. */
  readonly leases: number;
  /** See `ClockSkew.ms`. */
  readonly clockSkewMs: number | undefined;
  readonly history: Pick<History, "leaseOf" | "find" | "handBacksSince" | "idsOf">;
}

/**
 * Connects to a Resonate server. A request passes, from the SDK to the transport: hand-over, refusals, the way
 * that is made for starts, leases, and those who watch.
 */
export const connect = (options: ConnectionOptions): Connection => {
  const { pid, ttl, logger, log, assertFit } = options;
  const { onAnswer = () => {}, onReconnected = () => {}, beforeRelease = async () => {} } = options;
  const { headersFor = () => ({}) } = options;
  const transport = options.transport ?? openTransport(options);
  const { messages } = transport;
  messages.onReconnected = onReconnected;
  const history = createHistory();
  const pauses = createPauses({ log, passOn: (task) => passOn(ownSend, task, pid) });
  const awaited = createAwaited();

  const skew = watchClockSkew(log);
  const watched: Send = async (request) => {
    const sentAt = Date.now();
    awaited.onRequest(request);
    pauses.onRequest(request);
    try {
      const response = await transport.send(request);
      onAnswer(request, response, Date.now() - sentAt);
      awaited.onAnswer(request, response);
      skew.onAnswer(response, sentAt);
      // It forgets an execution that is given up, so the others come first.
      history.onAnswer(request, response);
      pauses.onAnswer(request, response);
      dropKnown(response);
      return response;
    } catch (error) {
      history.onSilence(request);
      pauses.onAnswer(request, undefined);
      onAnswer(request, undefined, Date.now() - sentAt);
      throw error;
    }
  };
  /** For requests that belong to no execution. */
  const ownSend: Send = async (request) => {
    const sentAt = Date.now();
    const response = await transport.send(request);
    skew.onAnswer(response, sentAt);
    return response;
  };
  const leases = keepLeases({ send: watched }, { pid, ttl, logger });
  const refusing = failOnRefusal(makeWay(leases.send), () => assertFit(transport.send));
  const send: Send = async (typed) => {
    const request: Request = typed;
    if (request.kind === "task.release") await beforeRelease(request.data).catch(() => {});
    if (request.kind === "task.fence" && request.data.action.kind === "promise.settle") {
      const { id, value } = request.data.action.data;
      value.headers = { ...value.headers, ...headersFor(request.data.id, id) };
    }
    return refusing(typed);
  };
  const handOver = createHandOver({ ...leases, send }, messages);
  const opened = new AsyncDisposableStack();
  opened.use(transport);
  return {
    get unicast() {
      return messages.unicast;
    },
    anycast: messages.anycast,
    match: (target) => messages.match(target),
    init: async () => {
      await messages.init();
      opened.use(transport.watch?.(ownSend));
    },
    stop: async () => {
      leases.stop();
      pauses.stop();
      await messages.stop();
      await opened.disposeAsync();
    },
    recv: (callback) =>
      messages.onReceive((message) => {
        if (!isPulse(message) && awaited.takes(message)) pauses.deliver(message, callback);
      }),
    send: handOver.send,
    drain: (graceMs) => {
      pauses.stop();
      return handOver.drain(graceMs);
    },
    handBack: (executionId) => {
      pauses.leave(executionId);
      return handOver.handBack(executionId);
    },
    history,
    leaseOf: leases.leaseOf,
    get leases() {
      return leases.held().length;
    },
    get clockSkewMs() {
      return skew.ms;
    },
  };
};

/** The id of an execution whose end passes in an answer, or that is seen there to have ended. */
export const endedIn = (request: Request, response: Response): string | undefined => {
  if (!isSuccess(response)) return;
  if (request.kind === "task.fulfill") return request.data.id;
  if (response.kind === "task.create" && response.data.task?.state === "fulfilled")
    return response.data.task.id;
  if (response.kind === "promise.register_listener" && response.data.promise.state !== "pending")
    return response.data.promise.id;
  return;
};
