import type { Readable } from "node:stream";
import { isMessage, type Logger, type Message } from "@resonatehq/sdk";
import { describe } from "../support/errors.ts";
import { retryUntilDone } from "../support/retry.ts";
import { type Access, findRefusedStatus, requestAlone } from "./access.ts";
import { readLines } from "./lines.ts";
import type { MessageSource } from "./transport.ts";

/** Longest wait before reconnecting, in milliseconds. */
const MAX_RECONNECT_MS = 2000;
/** How long a server may take to accept a stream, in milliseconds. */
const ACCEPT_TIMEOUT_MS = 5000;
/** How long a stream that was replaced is read on, for messages that are under way, in milliseconds. */
const OVERLAP_MS = 1000;
/** A longer line is no event, in characters: it ends the stream. */
const MAX_LINE = 16 * 1024 * 1024;

export interface EventsOptions {
  readonly access: Access;
  readonly group: string;
  /** Unique among all workers. */
  readonly pid: string;
  readonly logger: Logger;
}

/** Receives the executions a server has for this worker. */
export interface Events extends MessageSource {
  /**
   * Opens another stream before it leaves the present one. For one that has fallen silent.
   *
   * @returns false when another one is being opened already
   */
  reconnect(): boolean;
}

/**
 * Receives the executions a server has for this worker, as server-sent events.
 *
 * In place of PollMessageSource of @resonatehq/sdk 0.11.5, which waits up to 30 s before it connects again after an
 * outage, and connects again even after `stop`. Can go once it does neither.
 */
export const createEvents = ({ access, group, pid, logger }: EventsOptions): Events => {
  const { url } = access;
  const ownGroup = encodeURIComponent(group);
  let streams = 0;
  /**
   * Each stream has a name of its own: the server sends to the first connection of a name for as long as it believes
   * it open, and so would go on sending to one that is dead.
   */
  const nameNext = () => {
    streams += 1;
    return `${ownGroup}/${encodeURIComponent(streams === 1 ? pid : `${pid}~${streams}`)}`;
  };
  let own = nameNext();
  const callbacks: ((message: Message) => void)[] = [];
  const stopped = new AbortController();
  let opened = false;
  /** The stream that is read; one that another has replaced is aborted. */
  let present: AbortController | undefined;
  let isOpening = false;

  const deliver = (line: string) => {
    try {
      const message: unknown = JSON.parse(line.slice("data:".length));
      // The SDK ends the process at the end of a promise that has not ended (Resonate.notify of 0.11.5).
      if (!isMessage(message) || (message.kind === "unblock" && message.data.promise.state === "pending"))
        return;
      for (const callback of callbacks) callback(message);
    } catch (error) {
      logger.warn({ error: describe(error) }, "an event was left out, since it cannot be read");
    }
  };

  const accept = async (stream: AbortController, name: string): Promise<Readable> => {
    const late = () =>
      stream.abort(new Error(`expected events from ${url} within ${ACCEPT_TIMEOUT_MS} ms, got no answer`));
    const timer = setTimeout(late, ACCEPT_TIMEOUT_MS);
    try {
      const signal = AbortSignal.any([stopped.signal, stream.signal]);
      const headers = { accept: "text/event-stream" };
      const path = `/poll/${name}`;
      const { statusCode, body } = await requestAlone(access, { path, method: "GET", headers, signal });
      if (statusCode === 200) return body;
      body.on("error", () => {}).destroy();
      throw (
        findRefusedStatus(url, statusCode) ??
        new Error(`expected events from ${url}, got status ${statusCode}`)
      );
    } catch (error) {
      throw stream.signal.reason ?? error;
    } finally {
      clearTimeout(timer);
    }
  };

  /** Reads a stream to its end. Resolves when another one has taken its place, and else rejects. */
  const listen = async (): Promise<void> => {
    const stream = new AbortController();
    const name = opened ? nameNext() : own;
    const body = await accept(stream, name);
    const replaced = present;
    present = stream;
    own = name;
    isOpening = false;
    // What is under way to the one before is still read.
    if (replaced) setTimeout(() => replaced.abort(), OVERLAP_MS);
    if (opened) events.onReconnected();
    opened = true;
    try {
      const pieces: AsyncIterable<string> = body.setEncoding("utf8");
      for await (const line of readLines(pieces, MAX_LINE)) if (line.startsWith("data:")) deliver(line);
    } catch (error) {
      if (present === stream) throw error;
    }
    if (present !== stream) return;
    present = undefined;
    throw new Error(`the server at ${url} closed the connection`);
  };

  const keepOpen = (): boolean => {
    if (isOpening) return false;
    isOpening = true;
    const onFailure = (error: unknown) => {
      isOpening = true;
      logger.warn({ error: describe(error) }, "no executions arrive, connecting again");
    };
    retryUntilDone(listen, { signal: stopped.signal, onFailure, maxDelayMs: MAX_RECONNECT_MS }).catch(
      () => {},
    );
    return true;
  };

  const events: Events = {
    get unicast() {
      return `poll://uni@${own}`;
    },
    // Any worker of the group, not this one first: the server would go on sending a lost worker's executions to it for
    // as long as it believes the connection open, and it writes nothing that would tell it otherwise.
    anycast: `poll://any@${ownGroup}`,
    match: (target) => `poll://any@${target}`,
    init: async () => void keepOpen(),
    stop: async () => stopped.abort(),
    onReceive: (callback) => {
      callbacks.push(callback);
    },
    reconnect: keepOpen,
    onReconnected: () => {},
  };
  return events;
};
