import {
  isSuccess,
  type Logger,
  type Network,
  type Request,
  type Response,
  type Send,
} from "@resonatehq/sdk";
import { createEvents } from "./events.ts";
import { createHandOver, type HandOver } from "./hand-over.ts";
import { createHttpSend } from "./http-send.ts";
import { keepLeases, type Lease } from "./leases.ts";

export interface ConnectionOptions {
  readonly url: string;
  /** Bearer token; empty for none. */
  readonly token: string;
  /** The worker group: its workers go on with each other's executions. */
  readonly group: string;
  /** Unique among all workers. */
  readonly pid: string;
  /** Lease in milliseconds. */
  readonly ttl: number;
  readonly logger: Logger;
  /** Told of every answer of the server. */
  readonly onAnswer?: (request: Request, response: Response) => void;
}

/** A Resonate network that keeps the lease of every execution that runs in this process, and can hand them back. */
export interface Connection extends Network, Pick<HandOver, "drain"> {
  /** Executions that hold a lease here: those that run, not those that sleep. */
  readonly held: readonly Lease[];
}

/** Connects to a Resonate server: requests by HTTP, executions to take up as server-sent events. */
export const connect = ({
  url,
  token,
  group,
  pid,
  ttl,
  logger,
  onAnswer = () => {},
}: ConnectionOptions): Connection => {
  const events = createEvents({ url, token, group, pid, logger });
  const http = createHttpSend({ url, token, logger });
  const answered: Send = async (request) => {
    const response = await http.send(request);
    onAnswer(request, response);
    return response;
  };
  const leases = keepLeases({ send: answered }, { pid, ttl, logger });
  const handOver = createHandOver(leases, events);
  return {
    unicast: events.unicast,
    anycast: events.anycast,
    match: (target) => events.match(target),
    init: () => events.init(),
    stop: async () => {
      leases.stop();
      await events.stop();
      http[Symbol.dispose]();
    },
    recv: (callback) => events.onReceive(callback),
    send: handOver.send,
    drain: handOver.drain,
    get held() {
      return leases.held;
    },
  };
};

/** The id of an execution whose end passes in an answer, if one does. */
export const endedIn = (request: Request, response: Response): string | undefined => {
  if (!isSuccess(response)) return;
  if (request.kind === "task.fulfill") return request.data.id;
  if (response.kind === "task.create" && response.data.task?.state === "fulfilled")
    return response.data.task.id;
  return;
};
