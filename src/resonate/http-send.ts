import { type Agent, request as httpRequest, type IncomingMessage } from "node:http";
import { request as httpsRequest } from "node:https";
import { text } from "node:stream/consumers";
import { urlToHttpOptions } from "node:url";
import { isResponse, type Logger, type Send } from "@resonatehq/sdk";
import { type Access, authorize, createAgent, findRefusedStatus, toAccessError } from "./access.ts";
import { checkedSend, isProtocolStatus } from "./checked-send.ts";
import { isRefusal, RefusedError } from "./refusals.ts";

/** As the SDK's own client: a server that says nothing for so long is taken for dead. */
const TIMEOUT_MS = 10_000;

/** Requests beyond wait in line, the time counting: thousands of executions may wake, or be handed back, at once. */
const MAX_CONNECTIONS = 128;

/** Connections that only renew leases: one that hangs must not hold up the next renewal. */
const HEARTBEAT_CONNECTIONS = 4;

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

/**
 * Sends requests to the Resonate server at `url`, over connections that are kept open.
 *
 * In place of `HttpNetwork.send` of @resonatehq/sdk 0.11.5, whose `fetch` takes half of the time that a worker spends
 * on starting an execution (`npm run bench -- --only dispatch` compares). It keeps to the same rules. Can go once
 * that costs no more than node:http.
 */
export const createHttpSend = ({ access, logger, timeoutMs = TIMEOUT_MS }: HttpSendOptions): HttpSend => {
  const { url, token } = access;
  const connections = (maxSockets: number) =>
    createAgent(access, { keepAlive: true, maxSockets, timeout: IDLE_MS });
  const agent = connections(MAX_CONNECTIONS);
  // Leases are renewed however many requests wait for a connection.
  const heartbeats = connections(HEARTBEAT_CONNECTIONS);
  const open = url.startsWith("https:") ? httpsRequest : httpRequest;
  const options = { ...urlToHttpOptions(new URL(url)), method: "POST" };

  /** Resolves with the response's head. Where an idle connection had been closed, once more over a new one. */
  const exchange = async (body: string, own: Agent | false, signal: AbortSignal) => {
    const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>();
    const headers = { "content-type": "application/json", ...authorize(token) };
    const request = open({ ...options, headers, agent: own, signal }, resolve);
    request.on("error", (error: NodeJS.ErrnoException) => {
      const wasClosed = request.reusedSocket && (error.code === "ECONNRESET" || error.code === "EPIPE");
      if (wasClosed) exchange(body, false, signal).then(resolve, reject);
      else reject(toAccessError(error));
    });
    request.end(body);
    return promise;
  };

  const post = async (body: string, own: Agent): Promise<unknown> => {
    const overdue = new AbortController();
    const late = () => overdue.abort(new Error(`no answer within ${timeoutMs} ms`));
    const timeout = setTimeout(late, timeoutMs);
    try {
      const response = await exchange(body, own, overdue.signal);
      const { statusCode: status = 0 } = response;
      const answer = await text(response);
      if (isRefusal(status)) return parseRefusal(status, answer);
      if (isProtocolStatus(status)) return JSON.parse(answer);
      const refused = findRefusedStatus(url, status);
      if (refused) throw refused;
      throw new Error(`HTTP ${status}${answer === "" ? "" : `: ${answer.slice(0, MAX_WORDS)}`}`);
    } catch (error) {
      throw overdue.signal.aborted ? overdue.signal.reason : error;
    } finally {
      clearTimeout(timeout);
    }
  };

  const send = checkedSend((request) => {
    const own = request.kind === "task.heartbeat" ? heartbeats : agent;
    const auth = token.isEmpty ? {} : { auth: token.reveal() };
    return post(JSON.stringify({ ...request, head: { ...request.head, ...auth } }), own);
  }, logger);

  return {
    send,
    [Symbol.dispose]: () => {
      agent.destroy();
      heartbeats.destroy();
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
