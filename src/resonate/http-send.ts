import { Agent as HttpAgent, request as httpRequest, type IncomingMessage } from "node:http";
import { Agent as HttpsAgent, request as httpsRequest } from "node:https";
import { text } from "node:stream/consumers";
import { urlToHttpOptions } from "node:url";
import {
  isResponse,
  type Logger,
  type Request,
  ResonateTimeoutException,
  type Response,
  type Send,
} from "@resonatehq/sdk";
import { describe } from "../support/errors.ts";

/** As the SDK's own client: a server that says nothing for so long is taken for dead. */
const TIMEOUT_MS = 10_000;

/** Requests beyond wait in line, the time counting: thousands of executions may wake, or be handed back, at once. */
const MAX_CONNECTIONS = 128;

/** What the protocol says by HTTP status; any other comes from something that is not the server, or is broken. */
const PROTOCOL_STATUSES: ReadonlySet<number | undefined> = new Set([200, 300, 404, 409, 422, 501]);

export interface HttpSendOptions {
  readonly url: string;
  /** Empty for none. */
  readonly token: string;
  readonly logger: Logger;
  /** For a whole request and its answer, in milliseconds. */
  readonly timeoutMs?: number;
}

export interface HttpSend extends Disposable {
  /** @throws {ResonateTimeoutException} when no proper answer comes: the SDK's word for "try again" */
  readonly send: Send;
}

/**
 * Sends requests to the Resonate server at `url`, over connections that are kept open.
 *
 * In place of `HttpNetwork.send` of @resonatehq/sdk 0.11.5, whose `fetch` takes half of the time that a worker spends
 * on starting an execution (`npm run bench -- --only dispatch` compares). It keeps to the same rules. Can go once
 * that costs no more than node:http.
 */
export const createHttpSend = ({ url, token, logger, timeoutMs = TIMEOUT_MS }: HttpSendOptions): HttpSend => {
  const secure = url.startsWith("https:");
  const reuse = { keepAlive: true, maxSockets: MAX_CONNECTIONS };
  const agent = secure ? new HttpsAgent(reuse) : new HttpAgent(reuse);
  const open = secure ? httpsRequest : httpRequest;
  const auth = token === "" ? {} : { auth: token };
  const headers = {
    "content-type": "application/json",
    ...(token === "" ? {} : { authorization: `Bearer ${token}` }),
  };
  const options = { ...urlToHttpOptions(new URL(url)), method: "POST", headers, agent };

  const post = async (body: string): Promise<unknown> => {
    const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>();
    const request = open(options, resolve).on("error", reject);
    const timeout = setTimeout(
      () => request.destroy(new Error(`no answer within ${timeoutMs} ms`)),
      timeoutMs,
    );
    try {
      request.end(body);
      const response = await promise;
      const answer = await text(response);
      if (PROTOCOL_STATUSES.has(response.statusCode)) return JSON.parse(answer);
      throw new Error(`HTTP ${response.statusCode}`);
    } finally {
      clearTimeout(timeout);
    }
  };

  const send: Send = async (typed) => {
    const request: Request = typed;
    try {
      const response = await post(JSON.stringify({ ...request, head: { ...request.head, ...auth } }));
      if (isAnswer(response, typed)) return response;
      throw new Error("the response does not match the request");
    } catch (error) {
      const cause = describe(error);
      logger.warn({ kind: request.kind, error: cause }, "a request to the server failed");
      throw new ResonateTimeoutException(cause);
    }
  };

  return { send, [Symbol.dispose]: () => agent.destroy() };
};

const isAnswer = <K extends Request["kind"]>(
  response: unknown,
  { kind, head }: Extract<Request, { kind: K }>,
): response is Extract<Response, { kind: K }> =>
  isResponse(response) && response.kind === kind && response.head.corrId === head.corrId;
