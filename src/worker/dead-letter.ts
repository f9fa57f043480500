import type { IHeaders, Message } from "kafkajs";
import type { BadInput } from "../jobs/deletion/message.ts";

/** Headers of a dead letter, beside the original's own. */
export const HEADERS = {
  reason: "dead-letter-reason",
  error: "dead-letter-error",
  topic: "dead-letter-topic",
  partition: "dead-letter-partition",
  offset: "dead-letter-offset",
  /** ISO 8601, UTC. */
  time: "dead-letter-time",
} as const;

/** How often a message has come back from the dead-letter topic; absent on a message that never has. */
export const ATTEMPT_HEADER = "redrive-attempt";

/** Why a message is in the dead-letter topic. */
export type DeadLetterReason = BadInput | "invalid-redrive-attempt" | "execution-failed";

/** A message that cannot be worked on, and why. */
export interface DeadLetter {
  readonly key: Buffer | string | null;
  readonly value: Buffer | string | null;
  readonly headers?: IHeaders | undefined;
  readonly reason: DeadLetterReason;
  readonly error: string;
  readonly topic: string;
  readonly partition: number;
  readonly offset: string;
}

/** The message for the dead-letter topic: the original key, value and headers, and where and why it failed. */
export const toDeadLetterMessage = (letter: DeadLetter, now: Date): Message => ({
  key: letter.key,
  value: letter.value,
  headers: {
    ...letter.headers,
    [HEADERS.reason]: letter.reason,
    [HEADERS.error]: letter.error,
    [HEADERS.topic]: letter.topic,
    [HEADERS.partition]: String(letter.partition),
    [HEADERS.offset]: letter.offset,
    [HEADERS.time]: now.toISOString(),
  },
});
