import { isResponse, type Logger, type Send } from "@resonatehq/sdk";
import type { Dispatcher } from "undici";
import Pool from "undici/lib/dispatcher/pool.js";
import { type Access, authorize, createConnector, findRefusedStatus, toAccessError } from "./access.ts";
import { checkedSend, isProtocolStatus } from "./checked-send.ts";
import { isRefusal, RefusedError } from "./refusals.ts";

/** As the SDK's own client: a server that says nothing for so long is taken for dead. */
const TIMEOUT_MS = 10_000;

/** Requests beyond wait in line, the time counting: thousands of executions may wake, or be handed back, at once. */
const MAX_CONNECTIONS = 128;

/** Connections that are there to renew leases: one that hangs must not hold up the next renewal. */
const HEARTBEAT_CONNECTIONS = 4;

/** So many of them are opened before any other: the next heartbeat may go out before the last one is answered. */
const WARM_CONNECTIONS = 2;

/** The most that is shown of an answer that is not the protocol's, in characters. */
const MAX_WORDS = 300;

/** An idle connection is closed after this, in milliseconds, before a server or balancer does it unseen. */
const IDLE_MS = 4000;

export interface HttpSendOptions {
  readonly access: Access;
  readonly logger: Logger;
  /** For a whole request and its answer, in milliseconds. */
  readonly timeoutMs?: number;
}

export interface HttpSend extends Disposable {
  /**
   * @throws {ResonateTimeoutException} when no proper answer comes: the SDK's word for "try again"
   * @throws {RefusedError} when something before the server refuses the request for good
   */
  readonly send: Send;
}

/** Errors of a connection that the server had closed as the request went out. */
const CLOSED: ReadonlySet<unknown> = new Set(["ECONNRESET", "EPIPE", "UND_ERR_SOCKET"]);

interface Answer {
  readonly status: number;
  readonly text: string;
}

/**
 * Sends requests to the Resonate server at `url`, over connections that are kept open.
 *
 * In place of `HttpNetwork.send` of @resonatehq/sdk 0.11.5, whose `fetch` takes half of the time that a worker spends
 * on starting an execution (`npm run bench -- --only dispatch` compares). It keeps to the same rules. Can go once
 * that costs no more.
 */
export const createHttpSend = ({ access, logger, timeoutMs = TIMEOUT_MS }: HttpSendOptions): HttpSend => {
  const { url, token } = access;
  const connect = createConnector(access);
  const createPool = (connections: number, pipelining = 1) => {
    // The time for a whole request is kept below, its wait for a connection included.
    const timeouts = { keepAliveTimeout: IDLE_MS, headersTimeout: 0, bodyTimeout: 0 };
    return new Pool(url, { connect, connections, pipelining, ...timeouts });
  };
  const pool = createPool(MAX_CONNECTIONS);
  // Leases are renewed however many requests wait for a connection.
  const heartbeats = createPool(HEARTBEAT_CONNECTIONS);
  // Without pipelining each request has a connection of its own: others of a pool may have been closed as well.
  const fresh = createPool(MAX_CONNECTIONS, 0);

  /** Where an idle connection had been closed, once more over a new one. */
  const exchange = (body: string, own: Pool): Promise<Answer> => {
    // A token that cannot be read throws.
    const headers = { "content-type": "application/json", ...authorize(token) };
    const { promise, resolve, reject } = Promise.withResolvers<Answer>();
    let controller: Dispatcher.DispatchController | undefined;
    let overdue: Error | undefined;
    const timeout = setTimeout(() => {
      overdue = new Error(`no answer within ${timeoutMs} ms`);
      controller?.abort(overdue);
      reject(overdue);
    }, timeoutMs);
    let [status, isSecond] = [0, false];
    const chunks: Buffer[] = [];
    const dispatch = (pool: Pool): unknown =>
      pool.dispatch(
        { path: "/", method: "POST", headers, body },
        {
          onRequestStart: (started) => {
            controller = started;
            if (overdue) started.abort(overdue);
          },
          onResponseStart: (_, code) => {
            status = code;
          },
          onResponseData: (_, chunk) => {
            chunks.push(chunk);
          },
          onResponseEnd: () => {
            clearTimeout(timeout);
            resolve({ status, text: String(Buffer.concat(chunks)) });
          },
          onResponseError: (_, error) => {
            if (status === 0 && !isSecond && "code" in error && CLOSED.has(error.code)) {
              isSecond = true;
              return void dispatch(fresh);
            }
            clearTimeout(timeout);
            reject(toAccessError(error));
          },
        },
      );
    dispatch(own);
    return promise;
  };

  const post = async (body: string, own: Pool): Promise<unknown> => {
    const { status, text } = await exchange(body, own);
    if (isRefusal(status)) return parseRefusal(status, text);
    if (isProtocolStatus(status)) return JSON.parse(text);
    const refused = findRefusedStatus(url, status);
    if (refused) throw refused;
    throw new Error(`HTTP ${status}${text === "" ? "" : `: ${text.slice(0, MAX_WORDS)}`}`);
  };

  let lent = 0;
  /**
   * A new connection may wait long to be accepted, behind all others that are new: a server in Node accepts one in each
   * turn of its event loop. So the first requests of a burst open the connections of the heartbeats, and a heartbeat that
   * finds all of those busy goes over another that is free as well.
   */
  const postOther = async (body: string): Promise<unknown> => {
    if (Math.max(heartbeats.stats.connected, lent) >= WARM_CONNECTIONS) return post(body, pool);
    lent += 1;
    return post(body, heartbeats).finally(() => {
      lent -= 1;
    });
  };
  const postHeartbeat = async (body: string): Promise<unknown> => {
    const isBusy = heartbeats.stats.free === 0;
    const own = post(body, heartbeats);
    if (!isBusy || pool.stats.free === 0) return own;
    return Promise.any([own, post(body, pool)]).catch(() => own);
  };

  const send = checkedSend((request) => {
    const { head } = request;
    const body = JSON.stringify(
      token.isEmpty ? request : { ...request, head: { ...head, auth: token.reveal() } },
    );
    return request.kind === "task.heartbeat" ? postHeartbeat(body) : postOther(body);
  }, logger);

  return {
    send,
    [Symbol.dispose]: () => {
      void pool.destroy();
      void heartbeats.destroy();
      void fresh.destroy();
    },
  };
};

/** A refusal as the protocol has it, or, from something before the server, as an error with its words. */
const parseRefusal = (status: number, answer: string): unknown => {
  try {
    const response: unknown = JSON.parse(answer);
    if (isResponse(response)) return response;
  } catch {
    // Not the server's own word: a proxy's page, for instance.
  }
  throw new RefusedError(status, answer.slice(0, MAX_WORDS));
};
