import { isSuccess, type Logger, type Message, type Send } from "@resonatehq/sdk";
import type { Events } from "./events.ts";
import { takeBriefly } from "./hand-back.ts";
import { INTERNAL_ID, PULSE_ID, requestHead } from "./request.ts";

/** How often the stream is looked at, in milliseconds. */
const CHECK_MS = 1000;
/** After so long without an event the server is asked for one, in milliseconds. */
const QUIET_MS = 12_000;
/** An event that was asked for comes within this, in milliseconds, or the stream is dead. */
const ANSWER_MS = 5000;
/** Between two tries to ask a server that does not answer, in milliseconds. */
const RETRY_MS = 5000;
/** A worker that dies is written to no longer than this, in milliseconds. */
const PULSE_LIFE_MS = 900_000;
/** Renewed before it ends. */
const PULSE_AGE_MS = PULSE_LIFE_MS * 0.9;

export interface LivenessOptions {
  readonly send: Send;
  /** The stream, and this worker's address. */
  readonly events: Pick<Events, "unicast" | "onReceive" | "reconnect">;
  readonly pid: string;
  readonly logger: Logger;
}

interface Pulse {
  readonly id: string;
  readonly address: string;
  readonly createdAt: number;
  /** How often it was leased. */
  version: number;
}

/**
 * Notices that the stream of events is dead while requests still pass: half-closed behind a proxy, or accepted and
 * never answered. The server writes nothing to an idle stream, so silence alone says nothing.
 *
 * It does send a message again that nobody answers, every `tasks.retry_timeout`. So a promise that is addressed to
 * this worker and never taken up is a pulse, at the cost of one request in a quarter of an hour. A server whose retry
 * timeout is longer than QUIET_MS is asked for a beat: it sends what is handed back at once. Can go once the server
 * writes keep-alive comments to its streams.
 */
export const watchLiveness = ({ send, events, pid, logger }: LivenessOptions): Disposable => {
  const own = `${PULSE_ID}${pid}`;
  const now = () => performance.now();
  let count = 0;
  let pulse: Pulse | undefined;
  let heardAt = now();
  /** When the server had agreed to send an event that has not come. */
  let askedAt: number | undefined;
  let isAsking = false;
  let askAgainAt = Number.NEGATIVE_INFINITY;

  events.onReceive((message: Message) => {
    heardAt = now();
    askedAt = undefined;
    if (message.kind !== "execute" || message.data.task.id !== pulse?.id) return;
    pulse.version = message.data.task.version;
  });

  /** Makes another pulse, which the server sends at once. */
  const renew = async () => {
    count += 1;
    const id = `${own}${INTERNAL_ID}${count}`;
    const address = events.unicast;
    const tags = {
      "resonate:target": address,
      "resonate:origin": id,
      "resonate:branch": id,
      "resonate:parent": id,
    };
    pulse = { id, address, createdAt: now(), version: 0 };
    const data = { id, timeoutAt: Date.now() + PULSE_LIFE_MS, param: { headers: {}, data: "" }, tags };
    const answer = await send({ kind: "promise.create", head: requestHead(), data });
    if (!isSuccess(answer)) throw new Error(`expected a promise to be created, got ${answer.head.status}`);
  };
  /** Takes the pulse and hands it back, for the server to send it again. */
  const beat = async (present: Pulse) => {
    const lease = await takeBriefly(send, present, pid);
    // The server has lost its state, or the pulse has ended.
    if (lease === undefined) return renew();
    await send({ kind: "task.release", head: requestHead(), data: lease });
  };
  const ask = async (present: Pulse | undefined) => {
    isAsking = true;
    const begunAt = now();
    try {
      await (present === undefined ? renew() : beat(present));
      if (heardAt < begunAt) askedAt = now();
    } catch {
      // A server that does not answer says nothing of the stream.
      pulse = undefined;
      askAgainAt = now() + RETRY_MS;
    } finally {
      isAsking = false;
    }
  };
  const check = () => {
    if (isAsking || now() < askAgainAt) return;
    if (askedAt !== undefined && now() - askedAt >= ANSWER_MS) {
      const silence = Math.round((now() - heardAt) / 1000);
      if (events.reconnect()) logger.warn({}, `no event for ${silence} s: opening another stream`);
      askedAt = undefined;
      heardAt = now();
    }
    const fits =
      pulse !== undefined && pulse.address === events.unicast && now() - pulse.createdAt < PULSE_AGE_MS;
    if (!fits) void ask(undefined);
    else if (askedAt === undefined && now() - heardAt >= QUIET_MS) void ask(pulse);
  };
  const timer = setInterval(check, CHECK_MS);
  return { [Symbol.dispose]: () => clearInterval(timer) };
};

/** Whether a message is a pulse: it is for no one to work on. */
export const isPulse = (message: Message): boolean =>
  message.kind === "execute" && message.data.task.id.startsWith(PULSE_ID);
