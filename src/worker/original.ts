import type { IHeaders, KafkaMessage, Message } from "kafkajs";
import { writableHeaders } from "../kafka/headers.ts";
import type { TopicReader } from "../kafka/topic-reader.ts";
import {
  CANCELLED,
  EXECUTION_FAILED,
  HEADERS,
  INVALID_REDRIVE_COUNT,
  REDRIVES_HEADER,
  withoutOwnHeaders,
} from "./dead-letter.ts";

const read = ({ headers }: Pick<KafkaMessage, "headers">, name: keyof typeof HEADERS): string | undefined => {
  const value = headers?.[HEADERS[name]];
  return value === undefined ? undefined : String(value);
};

/** Why a letter is one. */
export const readReason = (letter: KafkaMessage): string => read(letter, "reason") ?? "unknown";

/** The topic that a letter's message came from; `fallback` where it does not say so. */
export const readSource = (letter: KafkaMessage, fallback: string): string =>
  read(letter, "topic") ?? fallback;

/** Where a letter's original stands, in words. */
export const placeOf = (letter: KafkaMessage): string =>
  `topic ${read(letter, "topic")}, partition ${read(letter, "partition")}, offset ${read(letter, "offset")}`;

/** A clock may be wrong by so much before a message is taken for one that came after its letter. */
const CLOCK_SKEW_MS = 300_000;

/** Whether what stands at a letter's place now is what the letter was written for: the topic may be another by now. */
const isOriginalOf = (letter: KafkaMessage, found: KafkaMessage, without: string): boolean => {
  if (!without.split(",").includes("key")) {
    const same =
      letter.key === null ? found.key === null : found.key !== null && letter.key.equals(found.key);
    if (!same) return false;
  }
  return !(Number(found.timestamp) > Date.parse(read(letter, "time") ?? "") + CLOCK_SKEW_MS);
};

/** What stands at a letter's place, or `undefined` when that is no longer its original. */
const fetchOriginal = async (
  letter: KafkaMessage,
  without: string,
  reader: TopicReader,
): Promise<KafkaMessage | undefined> => {
  const topic = read(letter, "topic");
  const offset = read(letter, "offset");
  if (topic === undefined || offset === undefined || !/^\d{1,19}$/.test(offset)) return;
  const start = BigInt(offset);
  const partition = Number(read(letter, "partition"));
  const extent = (await reader.extents(topic)).get(partition);
  if (extent === undefined || start < extent.start || start >= extent.end) return;
  for await (const { messages } of reader.read(topic, partition, { start, end: start + 1n })) {
    const found = messages.find((message) => message.offset === offset);
    if (found) return isOriginalOf(letter, found, without) ? found : undefined;
  }
  return;
};

/** The letter itself, or, where it lacks part of its original, what it was written for; `undefined` when that is gone. */
export const findOriginal = async (
  letter: KafkaMessage,
  reader: TopicReader,
): Promise<KafkaMessage | undefined> => {
  const without = read(letter, "without");
  return without === undefined ? letter : fetchOriginal(letter, without, reader);
};

/**
 * The message as it was before it became a dead letter, byte for byte. One whose execution failed or was cancelled
 * counts its redrives up, and with them its execution's id, since the failed promise would only give its failure again.
 * A count that could not be read is dropped: it would only be refused again.
 *
 * @param found what `findOriginal` gives
 */
export const toOriginal = (letter: KafkaMessage, found = letter): Message => {
  const headers: IHeaders = withoutOwnHeaders(writableHeaders(found.headers));
  const reason = readReason(letter);
  if (reason === INVALID_REDRIVE_COUNT) delete headers[REDRIVES_HEADER];
  if (reason === EXECUTION_FAILED || reason === CANCELLED) {
    headers[REDRIVES_HEADER] = String(Number(found.headers?.[REDRIVES_HEADER] ?? 0) + 1);
  }
  return { key: found.key, value: found.value, headers };
};
