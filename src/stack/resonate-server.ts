import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { setTimeout } from "node:timers/promises";
import {
  isRequest,
  isSuccess,
  LocalNetwork,
  type Message,
  type Request,
  type Response,
} from "@resonatehq/sdk";
import { describe } from "../support/errors.ts";
import { createClock } from "./clock.ts";
import { createListener } from "./listener.ts";
import { readBody } from "./read-body.ts";
import { search } from "./search.ts";
import { createUnanswered } from "./unanswered.ts";

/** Requests and their answers as they pass, for those who count or trace them. */
type OnExchange = (request: Request, response: Response) => void | Promise<void>;

export interface ResonateServerOptions {
  readonly onExchange?: OnExchange;
  /** Milliseconds by which every answer is held back, to stand for a network; read at each request. */
  readonly delayMs?: () => number;
}

/** A Resonate server for development: all its state is in memory, and lost with it. */
export interface ResonateServer extends AsyncDisposable {
  /** Listens on `host` (127.0.0.1); port 0 is a free one. Rejects with the listen error, such as EADDRINUSE. */
  listen(address: { port: number; host?: string }): Promise<{ host: string; port: number }>;
  /** Closes the listener and all connections and keeps the state: a server that cannot be reached. */
  stop(): Promise<void>;
  /** Cuts every connection and goes on listening. Returns how many there were. */
  dropConnections(): number;
}

/** Larger requests are refused with status 413. */
const MAX_BODY_BYTES = 16 * 1024 * 1024;

/** `poll://any@group/pid` (any worker of the group, `pid` if it is connected) or `poll://uni@group/pid`. */
const parseAddress = (address: string | undefined) => {
  const [, cast, ...parts] = /^poll:\/\/(any|uni)@([^/]+)(?:\/(.+))?$/.exec(address ?? "") ?? [];
  const [group, pid = ""] = parts.map((part) => decode(part ?? ""));
  return cast && group ? { cast, group, pid } : undefined;
};

/** Percent-encoded text; the empty string where it is badly encoded. */
const decode = (text: string): string => {
  try {
    return decodeURIComponent(text);
  } catch {
    return "";
  }
};

/**
 * Makes a server of the SDK's in-memory LocalNetwork, behind the protocol of the real one: `POST /` with a request,
 * whose answer's status is the HTTP status, and `GET /poll/<group>/<pid>` for messages as server-sent events.
 */
export const createResonateServer = ({ onExchange, delayMs }: ResonateServerOptions = {}): ResonateServer => {
  const network = new LocalNetwork();
  /** Poll connections by group, then by worker. */
  const groups = new Map<string, Map<string, ServerResponse>>();
  /** Who asked to be told of the end of which promise. */
  const listeners = new Map<string, Set<string>>();

  const unanswered = createUnanswered(network, (message) => void route(message));
  const clock = createClock(async () => {
    const time = Date.now();
    await network.send({ kind: "debug.tick", head: { corrId: "", version: "" }, data: { time } });
    await unanswered.sendAgain(time);
  });

  const exchange = async (request: Request): Promise<Response> => {
    if (request.kind === "promise.search") return search(network, request);
    if (request.kind === "promise.register_listener") {
      const { awaited, address } = request.data;
      listeners.getOrInsertComputed(awaited, () => new Set<string>()).add(address);
    }
    const response: Response = await network.send(request);
    await onExchange?.(request, response);
    return response;
  };

  const deliver = (address: string | undefined, message: Message) => {
    const to = parseAddress(address);
    if (!to) return;
    const workers = groups.get(to.group) ?? new Map<string, ServerResponse>();
    const others = [...workers.values()];
    const any = to.cast === "any" ? others[Math.floor(Math.random() * others.length)] : undefined;
    // Nobody there: an execute message is sent again later.
    (workers.get(to.pid) ?? any)?.write(`data: ${JSON.stringify(message)}\n\n`);
  };

  network.recv((message) => {
    void route(message);
  });
  const route = async (message: Message) => {
    if (message.kind === "unblock") {
      const { id } = message.data.promise;
      for (const address of listeners.get(id) ?? []) deliver(address, message);
      listeners.delete(id);
      return;
    }
    // LocalNetwork delivers without an address; the promise's tag holds it.
    const { id } = message.data.task;
    unanswered.note(message, Date.now());
    const found = await network.send({
      kind: "promise.get",
      head: { corrId: "", version: "" },
      data: { id },
    });
    if (isSuccess(found)) deliver(found.data.promise.tags["resonate:target"], message);
  };

  const poll = (path: string, response: ServerResponse) => {
    const [, , group = "", pid = ""] = path.split("/").map(decode);
    if (group === "" || pid === "") return void response.writeHead(400).end("expected /poll/<group>/<pid>");
    const workers = groups.getOrInsertComputed(group, () => new Map<string, ServerResponse>());
    workers.set(pid, response);
    response.on("close", () => {
      if (workers.get(pid) === response) workers.delete(pid);
    });
    response.writeHead(200, { "content-type": "text/event-stream", "cache-control": "no-store" });
    response.flushHeaders();
  };

  const answer = async (incoming: IncomingMessage, response: ServerResponse) => {
    const body = await readBody(incoming, MAX_BODY_BYTES);
    if (body === undefined) return void response.writeHead(413, { connection: "close" }).end();
    let request: unknown;
    try {
      request = JSON.parse(body);
    } catch (error) {
      return void response.writeHead(400).end(describe(error));
    }
    // debug.* would let any client reset the state or move the clock.
    if (!isRequest(request) || request.kind.startsWith("debug.")) {
      return void response.writeHead(400).end("expected a request of the Resonate protocol");
    }
    if (delayMs) await setTimeout(delayMs());
    const result = await exchange(request);
    if (delayMs) await setTimeout(delayMs());
    response
      .writeHead(result.head.status, { "content-type": "application/json" })
      .end(JSON.stringify(result));
  };

  const http = createServer((incoming, response) => {
    const path = incoming.url ?? "/";
    if (incoming.method === "GET" && path === "/health") response.end("ok");
    else if (incoming.method === "GET" && path.startsWith("/poll/")) poll(path, response);
    else if (incoming.method !== "POST" || path !== "/") response.writeHead(404).end();
    else answer(incoming, response).catch((error) => response.destroy(error));
  });
  const listener = createListener(http);
  return {
    listen: async ({ port, host = "127.0.0.1" }) => {
      clock.start();
      return { host, port: await listener.open({ port, host }) };
    },
    stop: listener.close,
    dropConnections: listener.drop,
    [Symbol.asyncDispose]: async () => {
      clock.stop();
      await listener.close();
      await network.stop();
    },
  };
};
