import type { Kafka, KafkaMessage } from "kafkajs";
import { createProducer } from "../kafka/producer.ts";
import { openTopicReader } from "../kafka/topic-reader.ts";
import { ensureTopic } from "../kafka/topics.ts";
import type { Log } from "../support/log.ts";
import { readReason, readSource } from "./original.ts";
import { createRedriveLock } from "./redrive-lock.ts";
import {
  type Attempt,
  advance,
  firstDue,
  isDone,
  loadProgress,
  progressTopic,
  saveProgress,
} from "./redrive-progress.ts";
import { inChunks, type Staying, sendBack } from "./send-back.ts";
import type { WorkerSettings } from "./settings.ts";

export interface RedriveOptions {
  readonly settings: Pick<WorkerSettings, "KAFKA_GROUP_ID" | "TOPIC_SOURCE" | "TOPIC_DEAD_LETTERS">;
  readonly kafka: Kafka;
  /** Only dead letters of this reason; all when absent. */
  readonly reason?: string | undefined;
  /** Counts what would go back, and sends nothing. */
  readonly dryRun?: boolean | undefined;
  /** Told after each page of letters how many of how many were looked at. */
  readonly onProgress: (looked: number, total: number) => void;
  /** Told of each letter that cannot go back. */
  readonly onStaying: (staying: Staying) => void;
  /** Told once, after the pass, how many letters of which other topics were passed over, if any. */
  readonly onPassedOver: (counts: ReadonlyMap<string, number>) => void;
  readonly log: Log;
  readonly signal: AbortSignal;
}

const offsetsOf = (letters: readonly KafkaMessage[]): ReadonlySet<bigint> =>
  new Set(letters.map(({ offset }) => BigInt(offset)));

const add = (counts: Map<string, number>, name: string, n: number) =>
  counts.set(name, (counts.get(name) ?? 0) + n);

/**
 * Sends dead letters back to the topic they came from: those that are there when it starts and have not been sent back
 * before, in one pass. Letters of another topic than the job's are passed over, and left to the redrive of the job that
 * reads it. How far it has come is kept in a topic beside theirs, for each source topic, partition and reason, so that
 * one reason and later all do not overlap. A letter that cannot go back stays due for the next redrive. After a crash up
 * to MAX_LETTERS go back twice, to the same executions.
 *
 * @returns how many went back, by reason
 * @throws the reason of `signal` when it is aborted; {RedriveRunningError} when another redrive runs; what kafkajs
 * throws when the broker cannot be reached
 */
export const redrive = async (options: RedriveOptions): Promise<ReadonlyMap<string, number>> => {
  const { settings, kafka, reason, dryRun = false, log, signal } = options;
  const { TOPIC_DEAD_LETTERS: topic, TOPIC_SOURCE: source } = settings;
  const topics = { deadLetters: topic, source };
  const progressSpec = progressTopic(topic);
  await using opened = new AsyncDisposableStack();
  const groupId = `${settings.KAFKA_GROUP_ID}.redrive`;
  const lock = opened.use(createRedriveLock({ kafka, groupId, topic: progressSpec.topic, log, signal }));
  if (!dryRun) await lock.waitForOthers();
  const reader = opened.use(await openTopicReader(kafka));
  const producer = createProducer(kafka);
  const stopped = AbortSignal.any([signal, lock.lost]);

  const extents = await reader.extents(topic);
  let progress = await loadProgress(reader, topics, extents);
  let started = dryRun;
  /** Waits until there is something to do: to join a group may take seconds. */
  const start = async () => {
    await ensureTopic(kafka, progressSpec);
    await lock.acquire();
    progress = await loadProgress(reader, topics, extents);
    await producer.connect();
    opened.defer(() => producer.disconnect());
    started = true;
  };
  const isDue = (partition: number) => (letter: KafkaMessage) => {
    const own = readReason(letter);
    if (reason !== undefined && own !== reason) return false;
    return !isDone(progress.get(partition), BigInt(letter.offset), own);
  };
  /** Letters that are due, by the topic they came from. */
  const dueBySource = (letters: readonly KafkaMessage[], partition: number) =>
    Map.groupBy(letters.filter(isDue(partition)), (letter) => readSource(letter, source));
  /** Letters that stayed before go apart, and last: one that does not fit could make its neighbours go back twice. */
  const chunksOf = (letters: readonly KafkaMessage[], partition: number) => {
    const stayed = progress.get(partition)?.staying;
    const isFresh = ({ offset }: KafkaMessage) => !stayed?.has(BigInt(offset));
    const again = letters.filter((letter) => !isFresh(letter));
    return [...inChunks(letters.filter(isFresh)), ...inChunks(again)];
  };
  const record = async (partition: number, next: bigint, last: KafkaMessage, attempt?: Attempt) => {
    const reached = advance(progress.get(partition), next, reason, last, attempt);
    progress.set(partition, reached);
    await saveProgress(producer, topics, partition, reached);
  };

  const ranges = [...extents].map(([partition, { start: first, end }]) => {
    const due: bigint = firstDue(progress.get(partition));
    return { partition, start: due > first ? due : first, end };
  });
  const total = ranges.reduce((sum, { start: first, end }) => sum + Number(end - first), 0);
  const driven = new Map<string, number>();
  const passedOver = new Map<string, number>();
  let looked = 0;
  for (const { partition, ...range } of ranges) {
    let last: KafkaMessage | undefined;
    let at = range.start;
    for await (const { messages, next } of reader.read(topic, partition, range)) {
      stopped.throwIfAborted();
      if (!started && dueBySource(messages, partition).has(source)) await start();
      const due = dueBySource(messages, partition);
      for (const chunk of chunksOf(due.get(source) ?? [], partition)) {
        stopped.throwIfAborted();
        const staying = dryRun ? [] : await sendBack(chunk, { reader, producer, topic: source });
        staying.forEach(options.onStaying);
        const left = staying.map(({ letter }) => letter);
        for (const letter of new Set(chunk).difference(new Set(left))) add(driven, readReason(letter), 1);
        const latest = chunk.at(-1);
        const attempt = { tried: offsetsOf(chunk), staying: offsetsOf(left) };
        if (!dryRun && latest) await record(partition, BigInt(latest.offset) + 1n, latest, attempt);
      }
      for (const [other, letters] of due) if (other !== source) add(passedOver, other, letters.length);
      last = messages.at(-1) ?? last;
      looked += Number(next - at);
      at = next;
      options.onProgress(looked, total);
    }
    if (started && !dryRun && last) await record(partition, range.end, last);
  }
  if (passedOver.size > 0) options.onPassedOver(passedOver);
  return driven;
};
