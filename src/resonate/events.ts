import { get as httpGet, type IncomingMessage } from "node:http";
import { get as httpsGet } from "node:https";
import { type HttpAdapter, isMessage, type Logger, type Message } from "@resonatehq/sdk";
import { describe } from "../support/errors.ts";
import { retryUntilDone } from "../support/retry.ts";

/** Longest wait before reconnecting, in milliseconds. */
const MAX_RECONNECT_MS = 2000;

/** How often an idle connection is probed by TCP, in milliseconds. */
const KEEP_ALIVE_MS = 15_000;

export interface EventsOptions {
  readonly url: string;
  readonly token: string;
  readonly group: string;
  /** Unique among all workers. */
  readonly pid: string;
  readonly logger: Logger;
}

/**
 * Receives the executions a server has for this worker, as server-sent events.
 *
 * In place of PollMessageSource of @resonatehq/sdk 0.11.5, which waits up to 30 s before it connects again after an
 * outage, and connects again even after `stop`. Can go once it does neither.
 */
export const createEvents = ({ url, token, group, pid, logger }: EventsOptions): HttpAdapter => {
  const ownGroup = encodeURIComponent(group);
  const own = `${ownGroup}/${encodeURIComponent(pid)}`;
  const headers = {
    accept: "text/event-stream",
    ...(token === "" ? {} : { authorization: `Bearer ${token}` }),
  };
  const callbacks: ((message: Message) => void)[] = [];
  const stopped = new AbortController();

  const deliver = (message: unknown) => {
    if (isMessage(message)) for (const callback of callbacks) callback(message);
  };
  const listen = async (): Promise<never> => {
    const response = await get(`${url}/poll/${own}`, headers, stopped.signal);
    if (response.statusCode !== 200)
      throw new Error(`expected events from ${url}, got status ${response.statusCode}`);
    response.socket.setKeepAlive(true, KEEP_ALIVE_MS);
    let rest = "";
    for await (const text of response.setEncoding("utf8")) {
      const lines = (rest + text).split("\n");
      rest = lines.pop() ?? "";
      for (const line of lines) if (line.startsWith("data:")) deliver(JSON.parse(line.slice("data:".length)));
    }
    throw new Error(`the server at ${url} closed the connection`);
  };
  const onFailure = (error: unknown) =>
    logger.warn({ error: describe(error) }, "no executions arrive, connecting again");

  return {
    unicast: `poll://uni@${own}`,
    // Any worker of the group, not this one first: the server would go on sending a lost worker's executions to it for
    // as long as it believes the connection open, and it writes nothing that would tell it otherwise.
    anycast: `poll://any@${ownGroup}`,
    match: (target) => `poll://any@${target}`,
    init: async () => {
      retryUntilDone(listen, { signal: stopped.signal, onFailure, maxDelayMs: MAX_RECONNECT_MS }).catch(
        () => {},
      );
    },
    stop: async () => stopped.abort(),
    onReceive: (callback) => {
      callbacks.push(callback);
    },
  };
};

/** Not `fetch`, which ends a response that is silent for five minutes. */
const get = (url: string, headers: Record<string, string>, signal: AbortSignal): Promise<IncomingMessage> => {
  const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>();
  const send = url.startsWith("https:") ? httpsGet : httpGet;
  send(url, { headers, signal, agent: false }, resolve).on("error", reject);
  return promise;
};
