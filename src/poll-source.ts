import { type HttpAdapter, isMessage, type Logger, type Message } from "@resonatehq/sdk";
import { describe } from "./errors.ts";
import { retryUntilDone } from "./patience.ts";

/** After an outage a worker hears of executions again this long after the server is back, in milliseconds. */
const MAX_RECONNECT_MS = 2000;

export interface PollSourceOptions {
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
export const createPollSource = ({ url, token, group, pid, logger }: PollSourceOptions): HttpAdapter => {
  const own = `${encodeURIComponent(group)}/${encodeURIComponent(pid)}`;
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
    const response = await fetch(`${url}/poll/${own}`, { headers, signal: stopped.signal });
    if (!response.ok || !response.body)
      throw new Error(`expected events from ${url}, got status ${response.status}`);
    let rest = "";
    for await (const text of response.body.pipeThrough(new TextDecoderStream())) {
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
    anycast: `poll://any@${own}`,
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
