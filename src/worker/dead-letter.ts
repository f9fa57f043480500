import type { IHeaders, Message, Producer } from "kafkajs";
import { orOutage } from "../kafka/client.ts";
import { describe } from "../support/errors.ts";
import type { Log } from "../support/log.ts";
import { type Envelope, unpackMessage } from "./envelope.ts";
import { idempotencyKey } from "./idempotency-key.ts";
import { tell } from "./telemetry.ts";

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

/** The reason of a message whose execution failed; all others are the job's or the worker's word for bad input. */
export const EXECUTION_FAILED = "execution-failed";

/** The reason of a message that says how often it came back, and not as this application does. */
export const INVALID_REDRIVE_COUNT = "invalid-redrive-count";

/** The most that is kept of an error, in bytes. */
const MAX_ERROR_BYTES = 4096;

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
}

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

/** The message for the dead-letter topic: the original key, value and headers, and where and why it failed. */
export const toDeadLetterMessage = (letter: DeadLetter, now: Date): Message => ({
  key: letter.key,
  value: letter.value,
  headers: {
    ...letter.headers,
    [HEADERS.reason]: letter.reason,
    [HEADERS.error]: cut(letter.error, MAX_ERROR_BYTES),
    [HEADERS.topic]: letter.topic,
    [HEADERS.partition]: String(letter.partition),
    [HEADERS.offset]: letter.offset,
    [HEADERS.time]: now.toISOString(),
  },
});

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
    const call = { job, messageId: id, step: "enqueueDeadLetter", call: redrives };
    const { key, value, headers } = original
      ? unpackMessage(original)
      : {
          key: null,
          value: null,
          headers: {
            [HEADERS.without]: "key,value,headers",
            ...(redrives > 0 ? { [REDRIVES_HEADER]: String(redrives) } : {}),
          },
        };
    const place = { topic: topics.source, partition, offset };
    const own = { ...headers, [HEADERS.key]: idempotencyKey(call) };
    const letter = { key, value, headers: own, reason: EXECUTION_FAILED, error, ...place };
    const messages = [toDeadLetterMessage(letter, new Date(now()))];
    await orOutage(producer.send({ topic: topics.deadLetters, acks: -1, messages }));
    tell("message.dead-letter", { ...place, id, reason: EXECUTION_FAILED, error });
    log.error(`record ${id} in position ${offset} goes to ${topics.deadLetters}: ${error}`);
  };
