import type { TopicReader } from "../kafka/topic-reader.ts";
import { readReason, readSource } from "../worker/original.ts";
import { isDone, loadProgress, type ProgressTopics } from "../worker/redrive-progress.ts";

/** The dead letters of a job. */
export interface DeadLetters {
  /** Those that were not driven again, by reason. */
  readonly waiting: Readonly<Record<string, number>>;
  /** Those that went back to their topic. */
  readonly drivenAgain: number;
  /** Older ones that were not looked at, other jobs' among them where they share the topic. */
  readonly unread: number;
}

/** So many letters of a partition are looked at, the newest ones. */
const MAX_READ = 20_000n;

/**
 * Counts the dead letters whose message came from the source topic by reason, and which of them were driven again. One
 * that does not say where it came from counts as well.
 */
export const readDeadLetters = async (reader: TopicReader, topics: ProgressTopics): Promise<DeadLetters> => {
  const { deadLetters: topic, source } = topics;
  const extents = await reader.extents(topic);
  const progress = await loadProgress(reader, topics, extents);
  const waiting = new Map<string, number>();
  let [drivenAgain, unread] = [0, 0];
  for (const [partition, { start, end }] of extents) {
    const from = end - start > MAX_READ ? end - MAX_READ : start;
    unread += Number(from - start);
    for await (const { messages } of reader.read(topic, partition, { start: from, end })) {
      for (const letter of messages) {
        if (readSource(letter, source) !== source) continue;
        const reason = readReason(letter);
        if (isDone(progress.get(partition), BigInt(letter.offset), reason)) drivenAgain += 1;
        else waiting.set(reason, (waiting.get(reason) ?? 0) + 1);
      }
    }
  }
  return { waiting: Object.fromEntries([...waiting].sort()), drivenAgain, unread };
};
