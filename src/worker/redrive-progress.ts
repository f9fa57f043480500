import type { KafkaMessage, Producer } from "kafkajs";
import type { Extent, TopicReader } from "../kafka/topic-reader.ts";

/**
 * How far the redrive of one partition has come, for one source topic: several jobs may share a dead-letter topic.
 * Letters go back in order, so for each reason it is one offset.
 */
export interface Progress {
  /** Every letter before this offset is done with, whatever its reason, but for `staying`. */
  readonly all: bigint;
  /** Letters of a reason that are done with, before an offset beyond `all`. */
  readonly reasons: ReadonlyMap<string, bigint>;
  /**
   * The offsets, in order, of letters before all that which could not go back, and are still due. Of more than 1,000
   * the oldest are forgotten, and count as done with.
   */
  readonly staying: ReadonlySet<bigint>;
  /** The last letter that was looked at: tells whether the topic is still the same one. */
  readonly last: Pick<KafkaMessage, "offset" | "timestamp">;
}

const MAX_STAYING = 1000;

/** The offsets of letters that were to go back, and of those among them that could not. */
export interface Attempt {
  readonly tried: ReadonlySet<bigint>;
  readonly staying: ReadonlySet<bigint>;
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

/** The key under which the progress of a partition is kept. A topic's name holds no colon. */
const progressKey = (source: string, partition: number): string => `${source}:${partition}`;

/** Whether a letter was driven before. */
export const isDone = (progress: Progress | undefined, offset: bigint, reason: string): boolean =>
  progress !== undefined &&
  !progress.staying.has(offset) &&
  (offset < progress.all || offset < (progress.reasons.get(reason) ?? 0n));

/** The offset before which no letter is due. */
export const firstDue = (progress: Progress | undefined): bigint => {
  const all = progress?.all ?? 0n;
  const [lowest = all] = progress?.staying ?? [];
  return lowest < all ? lowest : all;
};

const laterOf = (one: Progress["last"], other: Progress["last"] | undefined) =>
  other && BigInt(other.offset) > BigInt(one.offset) ? other : one;

/**
 * The progress once all letters before `next` have been looked at: all of `reason`, or, without one, all there are.
 * They are done with, but for those that stay. A second look at letters takes nothing back.
 */
export const advance = (
  before: Progress | undefined,
  next: bigint,
  reason: string | undefined,
  last: Progress["last"],
  attempt: Attempt = { tried: new Set(), staying: new Set() },
): Progress => {
  const reached = before?.all ?? 0n;
  const all = reason === undefined && next > reached ? next : reached;
  const staying = [...(before?.staying ?? new Set<bigint>()).difference(attempt.tried), ...attempt.staying];
  staying.sort((one, other) => Number(one - other));
  const reasons = new Map(before?.reasons);
  if (reason !== undefined && next > (reasons.get(reason) ?? 0n)) reasons.set(reason, next);
  const beyond = [...reasons].filter(([, offset]) => offset > all);
  return {
    all,
    reasons: new Map(beyond),
    staying: new Set(staying.slice(-MAX_STAYING)),
    last: laterOf(last, before?.last),
  };
};

export const encodeProgress = ({ all, reasons, staying, last }: Progress): string =>
  JSON.stringify({
    all: String(all),
    reasons: Object.fromEntries([...reasons].map(([reason, offset]) => [reason, String(offset)])),
    staying: [...staying].map(String),
    last: { offset: last.offset, timestamp: last.timestamp },
  });

/**
 * Reads also what was recorded before there was `staying`.
 *
 * @throws {SyntaxError} when the value is not what `encodeProgress` made
 */
export const decodeProgress = (text: string): Progress => {
  const { all, reasons, staying = [], last } = JSON.parse(text);
  const offsets = Object.entries(reasons).map(
    ([reason, offset]) => [reason, BigInt(String(offset))] as const,
  );
  const offsetsStaying = Array.from(staying, (offset) => BigInt(String(offset)));
  return { all: BigInt(all), reasons: new Map(offsets), staying: new Set(offsetsStaying), last };
};

/** The topics that a progress is about. */
export interface ProgressTopics {
  readonly deadLetters: string;
  /** The topic that the letters came from. */
  readonly source: string;
}

/** Puts a partition's progress on record. */
export const saveProgress = async (
  producer: Pick<Producer, "send">,
  { deadLetters, source }: ProgressTopics,
  partition: number,
  progress: Progress,
): Promise<void> => {
  const messages = [{ key: progressKey(source, partition), value: encodeProgress(progress) }];
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
 * again does not count: its offsets are others'. What was recorded when there was one record of a partition, with no
 * source topic, counts for each source topic that has none of its own.
 */
export const loadProgress = async (
  reader: TopicReader,
  { deadLetters, source }: ProgressTopics,
  extents: ReadonlyMap<number, Extent>,
): Promise<AllProgress> => {
  const { topic } = progressTopic(deadLetters);
  const recorded = new Map<string, string>();
  for (const [partition, range] of await reader.extents(topic)) {
    for await (const { messages } of reader.read(topic, partition, range)) {
      for (const { key, value } of messages) recorded.set(String(key), String(value));
    }
  }
  const found: AllProgress = new Map();
  for (const [partition, extent] of extents) {
    const text = recorded.get(progressKey(source, partition)) ?? recorded.get(String(partition));
    if (text === undefined) continue;
    const progress = decodeProgress(text);
    if (!(await isSameTopic(reader, deadLetters, partition, extent, progress.last))) continue;
    // Those that the topic no longer keeps are not to be looked for.
    const staying = [...progress.staying].filter((offset) => offset >= extent.start);
    found.set(partition, { ...progress, staying: new Set(staying) });
  }
  return found;
};
