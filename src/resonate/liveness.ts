import type { Logger, Message, Send } from "@resonatehq/sdk";
import type { Events } from "./events.ts";
import { INTERNAL_ID, PULSE_ID, requestHead } from "./request.ts";

/** How often the stream is looked at, in milliseconds. */
const CHECK_MS = 1000;
/** A server whose interval is not yet known is given its default retry timeout of 30 s, and half as much again. */
const UNKNOWN_SILENCE_MS = 45_000;
/** Silence is no sign before this, in milliseconds: a server that is busy sends late. */
const MIN_SILENCE_MS = 10_000;
/** So many intervals without an event are silence. */
const SILENT_INTERVALS = 2.5;
/** A worker that dies is written to no longer than this, in milliseconds. */
const PULSE_LIFE_MS = 900_000;

export interface LivenessOptions {
  readonly send: Send;
  /** The group's and this worker's address. */
  readonly events: Pick<Events, "unicast" | "onReceive" | "reconnect">;
  readonly pid: string;
  readonly logger: Logger;
}

/**
 * Notices that the stream of events is dead while requests still pass: half-closed behind a proxy, or accepted and
 * never answered. The server writes nothing to an idle stream, so silence alone says nothing.
 *
 * It does send a message again that nobody answers, every `tasks.retry_timeout`. So a promise that is addressed to
 * this worker and never taken up is a pulse, at the cost of one request in a quarter of an hour. Can go once the server writes
 * keep-alive comments to its streams.
 */
export const watchLiveness = ({ send, events, pid, logger }: LivenessOptions): Disposable => {
  const own = `${PULSE_ID}${pid}`;
  const now = () => performance.now();
  let pulse = 0;
  let renewedAt = Number.NEGATIVE_INFINITY;
  let heardAt = now();
  let beatAt: number | undefined;
  let intervalMs: number | undefined;

  events.onReceive((message: Message) => {
    heardAt = now();
    if (message.kind !== "execute" || !message.data.task.id.startsWith(own)) return;
    if (beatAt !== undefined) intervalMs = heardAt - beatAt;
    beatAt = heardAt;
  });

  const renew = async () => {
    renewedAt = now();
    pulse += 1;
    beatAt = undefined;
    const id = `${own}${INTERNAL_ID}${pulse}`;
    const tags = {
      "resonate:target": events.unicast,
      "resonate:origin": id,
      "resonate:branch": id,
      "resonate:parent": id,
    };
    await send({
      kind: "promise.create",
      head: requestHead(),
      data: { id, timeoutAt: Date.now() + PULSE_LIFE_MS, param: { headers: {}, data: "" }, tags },
    });
  };
  const check = () => {
    // Renewed before it ends. A failed try is made again after a while.
    if (now() - renewedAt > PULSE_LIFE_MS * 0.9)
      renew().catch(() => (renewedAt = now() - PULSE_LIFE_MS * 0.9 + 10_000));
    const silence = Math.max(
      MIN_SILENCE_MS,
      intervalMs === undefined ? UNKNOWN_SILENCE_MS : intervalMs * SILENT_INTERVALS,
    );
    if (now() - heardAt < silence) return;
    logger.warn({}, `no event for ${Math.round((now() - heardAt) / 1000)} s: opening another stream`);
    heardAt = now();
    events.reconnect();
  };
  const timer = setInterval(check, CHECK_MS);
  return { [Symbol.dispose]: () => clearInterval(timer) };
};

/** Whether a message is a pulse: it is for no one to work on. */
export const isPulse = (message: Message): boolean =>
  message.kind === "execute" && message.data.task.id.startsWith(PULSE_ID);
