import type { IHeaders, Message, Producer } from "kafkajs";
import { isTooLarge, orOutage } from "../kafka/errors.ts";
import { describe } from "../support/errors.ts";
import type { Log } from "../support/log.ts";
import { isCancelled } from "./cancel.ts";
import { type Envelope, unpackMessage } from "./envelope.ts";
import { idempotencyKey } from "./idempotency-key.ts";
import { tell } from "./telemetry.ts";

/** The step that sends the message of a failed execution to the dead letters. */
export const DEAD_LETTER_STEP = "enqueueDeadLetter";

/** Headers of a dead letter, beside the original's own. */
export const HEADERS = {
  reason: "dead-letter-reason",
  error: "dead-letter-error",
  topic: "dead-letter-topic",
  partition: "dead-letter-partition",
  offset: "dead-letter-offset",
  /** ISO 8601, UTC. */
  time: "dead-letter-time",
  /** The same for repeats of one dead letter: only one whose execution failed has it. */
  key: "dead-letter-key",
  /** What the letter lacks of its original, which stands where topic, partition and offset say. */
  without: "dead-letter-without",
} as const;

/** How often a message has come back from the dead-letter topic; absent on a message that never has. */
export const REDRIVES_HEADER = "redrive-count";

/** The reason of a message whose execution failed; all but the next are the job's or the worker's word for bad input. */
export const EXECUTION_FAILED = "execution-failed";

/** The reason of a message whose execution was cancelled. */
export const CANCELLED = "cancelled";

/** The reason of a message whose execution ended with `error`. */
export const reasonFor = (error: unknown): string => (isCancelled(error) ? CANCELLED : EXECUTION_FAILED);

/** The reason of a message that says how often it came back, and not as this application does. */
export const INVALID_REDRIVE_COUNT = "invalid-redrive-count";

/** A part of the original that a letter may lack. */
type Part = "key" | "value" | "headers";

/** How much of the original and of the error a letter holds. */
interface Extent {
  readonly lacking: readonly Part[];
  readonly errorBytes: number;
}

/** From all to next to nothing: each next one is tried when the topic does not take the one before. */
const EXTENTS: readonly [Extent, ...Extent[]] = [
  { lacking: [], errorBytes: 4096 },
  { lacking: ["value"], errorBytes: 4096 },
  { lacking: ["value", "headers"], errorBytes: 4096 },
  { lacking: ["key", "value", "headers"], errorBytes: 4096 },
  { lacking: ["key", "value", "headers"], errorBytes: 256 },
];

/** A message that cannot be worked on, and why. */
export interface DeadLetter {
  readonly key: Buffer | string | null;
  readonly value: Buffer | string | null;
  readonly headers?: IHeaders | undefined;
  readonly reason: string;
  readonly error: string;
  readonly topic: string;
  readonly partition: number;
  readonly offset: string;
  /** The same for repeats of one letter. */
  readonly letterKey?: string;
  /** Nothing is left of the original but its place. */
  readonly isLost?: boolean;
}

const OWN_HEADERS = new Set<string>(Object.values(HEADERS));

/** Headers without those that a dead letter adds: what an earlier letter said is not to be taken for this one's word. */
export const withoutOwnHeaders = (headers: IHeaders | undefined): IHeaders =>
  Object.fromEntries(Object.entries(headers ?? {}).filter(([name]) => !OWN_HEADERS.has(name)));

/** The text, cut to so many bytes of UTF-8 at the most. */
const cut = (text: string, bytes: number): string => {
  const buffer = Buffer.from(text, "utf8");
  // A character that is cut in two would be read as U+FFFD.
  return buffer.length <= bytes
    ? text
    : buffer
        .subarray(0, bytes)
        .toString("utf8")
        .replace(/\ufffd+$/, "");
};

/** The original's headers, or, where they are lacking, the one that counts its redrives. */
const keptHeaders = (headers: IHeaders | undefined, lacking: readonly Part[]): IHeaders => {
  if (!lacking.includes("headers")) return withoutOwnHeaders(headers);
  const redrives = String(headers?.[REDRIVES_HEADER]);
  // One that is no count may be of any size.
  return /^\d{1,9}$/.test(redrives) ? { [REDRIVES_HEADER]: redrives } : {};
};

/** The message for the dead-letter topic: the original as far as it is kept, and where and why it failed. */
export const toDeadLetterMessage = (
  letter: DeadLetter,
  now: Date,
  { lacking, errorBytes }: Extent = EXTENTS[0],
): Message => ({
  key: lacking.includes("key") ? null : letter.key,
  value: lacking.includes("value") ? null : letter.value,
  headers: {
    ...keptHeaders(letter.headers, lacking),
    [HEADERS.reason]: letter.reason,
    [HEADERS.error]: cut(letter.error, errorBytes),
    [HEADERS.topic]: letter.topic,
    [HEADERS.partition]: String(letter.partition),
    [HEADERS.offset]: letter.offset,
    [HEADERS.time]: now.toISOString(),
    ...(letter.letterKey === undefined ? {} : { [HEADERS.key]: letter.letterKey }),
    ...(lacking.length === 0 ? {} : { [HEADERS.without]: lacking.join() }),
  },
});

/**
 * Sends a letter to `topic`. What the topic refuses as too large goes there without its value, then without its headers
 * and at last without its key: header `dead-letter-without` says so, and the original stands where the letter came from.
 *
 * @throws {OutageError} when the broker is away; what kafkajs throws when it refuses the message
 */
export const sendLetter = async (
  producer: Pick<Producer, "send">,
  topic: string,
  letter: DeadLetter,
  now: Date,
): Promise<void> => {
  const extents = EXTENTS.filter(({ lacking }) => !letter.isLost || lacking.includes("key"));
  for (const extent of extents) {
    try {
      const messages = [toDeadLetterMessage(letter, now, extent)];
      await orOutage(producer.send({ topic, acks: -1, messages }));
      return;
    } catch (error) {
      if (!isTooLarge(error) || extent === extents.at(-1)) throw error;
    }
  }
};

export interface DeadLetterOptions {
  readonly producer: Pick<Producer, "send">;
  readonly job: string;
  readonly topics: { readonly source: string; readonly deadLetters: string };
  /** Milliseconds since 1970. */
  readonly now: () => number;
  readonly log: Log;
}

/**
 * Makes the function that sends the message of a failed execution to the dead letters: as it came in, or, where it
 * was too large to keep, with the place where it stands. Repeats carry the same `dead-letter-key`.
 *
 * @throws {OutageError} when the broker is away; what kafkajs throws when it refuses the message
 */
export const createSendDeadLetter =
  ({ producer, job, topics, now, log }: DeadLetterOptions) =>
  async ({ id, partition, offset, redrives, original }: Envelope, cause: unknown): Promise<void> => {
    const error = describe(cause);
    const reason = reasonFor(cause);
    const call = { job, messageId: id, step: DEAD_LETTER_STEP, call: redrives };
    const place = { topic: topics.source, partition, offset };
    const lost = {
      key: null,
      value: null,
      headers: redrives > 0 ? { [REDRIVES_HEADER]: String(redrives) } : {},
    };
    const letter = {
      ...(original ? unpackMessage(original) : lost),
      isLost: !original,
      letterKey: idempotencyKey(call),
      reason,
      error,
      ...place,
    };
    await sendLetter(producer, topics.deadLetters, letter, new Date(now()));
    tell("message.dead-letter", { ...place, id, reason, error });
    log.error(
      { recordId: id, partition, offset, reason },
      `record ${id} in position ${offset} goes to ${topics.deadLetters}: ${error}`,
    );
  };
