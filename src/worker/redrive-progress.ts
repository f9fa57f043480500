import type { KafkaMessage, Producer } from "kafkajs";
import type { Extent, TopicReader } from "../kafka/topic-reader.ts";

/** How far the redrive of one partition has come. Letters go back in order, so for each reason it is one offset. */
export interface Progress {
  /** Every letter before this offset is done with, whatever its reason. */
  readonly all: bigint;
  /** Letters of a reason that are done with, before an offset beyond `all`. */
  readonly reasons: ReadonlyMap<string, bigint>;
  /** The last letter that was looked at: tells whether the topic is still the same one. */
  readonly last: Pick<KafkaMessage, "offset" | "timestamp">;
}

/** What is on record for each partition. */
export type AllProgress = Map<number, Progress>;

/**
 * The topic that keeps the progress, compacted and for ever: a consumer group's offsets expire after seven days without
 * members, and then everything would be driven again.
 */
export const progressTopic = (deadLetters: string) => ({
  topic: `${deadLetters}.redriven`,
  numPartitions: 1,
  configEntries: [{ name: "cleanup.policy", value: "compact" }],
});

/** Whether a letter was driven before. */
export const isDone = (progress: Progress | undefined, offset: bigint, reason: string): boolean =>
  progress !== undefined && (offset < progress.all || offset < (progress.reasons.get(reason) ?? 0n));

/** The progress once all letters before `next` are done with: all of `reason`, or, without one, all there are. */
export const advance = (
  before: Progress | undefined,
  next: bigint,
  reason: string | undefined,
  last: Progress["last"],
): Progress => {
  const all = reason === undefined ? next : (before?.all ?? 0n);
  const reasons = new Map(before?.reasons);
  if (reason !== undefined && next > (reasons.get(reason) ?? 0n)) reasons.set(reason, next);
  const beyond = [...reasons].filter(([, offset]) => offset > all);
  return { all, reasons: new Map(beyond), last };
};

export const encodeProgress = ({ all, reasons, last }: Progress): string =>
  JSON.stringify({
    all: String(all),
    reasons: Object.fromEntries([...reasons].map(([reason, offset]) => [reason, String(offset)])),
    last: { offset: last.offset, timestamp: last.timestamp },
  });

/** @throws {SyntaxError} when the value is not what `encodeProgress` made */
export const decodeProgress = (text: string): Progress => {
  const { all, reasons, last } = JSON.parse(text);
  const offsets = Object.entries(reasons).map(
    ([reason, offset]) => [reason, BigInt(String(offset))] as const,
  );
  return { all: BigInt(all), reasons: new Map(offsets), last };
};

/** Puts a partition's progress on record. */
export const saveProgress = async (
  producer: Pick<Producer, "send">,
  deadLetters: string,
  partition: number,
  progress: Progress,
): Promise<void> => {
  const messages = [{ key: String(partition), value: encodeProgress(progress) }];
  await producer.send({ topic: progressTopic(deadLetters).topic, acks: -1, messages });
};

/** Whether the letter that was looked at last still stands where it stood, or could have expired there. */
const isSameTopic = async (
  reader: TopicReader,
  deadLetters: string,
  partition: number,
  { start, end }: Extent,
  { offset, timestamp }: Progress["last"],
): Promise<boolean> => {
  const at = BigInt(offset);
  if (at < start) return true;
  if (at >= end) return false;
  for await (const { messages } of reader.read(deadLetters, partition, { start: at, end: at + 1n })) {
    const found = messages.find((message) => message.offset === offset);
    if (found) return found.timestamp === timestamp;
  }
  return true;
};

/**
 * What is on record, of the partitions in `extents`. What was recorded about a topic that has been deleted and made
 * again does not count: its offsets are others'.
 */
export const loadProgress = async (
  reader: TopicReader,
  deadLetters: string,
  extents: ReadonlyMap<number, Extent>,
): Promise<AllProgress> => {
  const { topic } = progressTopic(deadLetters);
  const found: AllProgress = new Map();
  for (const [partition, range] of await reader.extents(topic)) {
    for await (const { messages } of reader.read(topic, partition, range)) {
      for (const { key, value } of messages) found.set(Number(key), decodeProgress(String(value)));
    }
  }
  for (const [partition, { last }] of found) {
    const extent = extents.get(partition);
    if (!extent || !(await isSameTopic(reader, deadLetters, partition, extent, last)))
      found.delete(partition);
  }
  return found;
};
