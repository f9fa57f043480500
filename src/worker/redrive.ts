import type { Kafka, KafkaMessage } from "kafkajs";
import { createProducer } from "../kafka/producer.ts";
import { openTopicReader } from "../kafka/topic-reader.ts";
import { ensureTopic } from "../kafka/topics.ts";
import type { Log } from "../support/log.ts";
import { readReason } from "./original.ts";
import { createRedriveLock } from "./redrive-lock.ts";
import { advance, isDone, loadProgress, progressTopic, saveProgress } from "./redrive-progress.ts";
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
  readonly log: Log;
  readonly signal: AbortSignal;
}

/**
 * Sends dead letters back to the topic they came from: those that are there when it starts and have not been sent back
 * before, in one pass. How far it has come is kept in a topic beside theirs, for each partition and reason, so that one
 * reason and later all do not overlap. After a crash up to MAX_LETTERS go back twice, to the same executions.
 *
 * @returns how many went back, by reason
 * @throws the reason of `signal` when it is aborted; {RedriveRunningError} when another redrive runs; what kafkajs
 * throws when the broker cannot be reached
 */
export const redrive = async (options: RedriveOptions): Promise<ReadonlyMap<string, number>> => {
  const { settings, kafka, reason, dryRun = false, onProgress, onStaying, log, signal } = options;
  const topic = settings.TOPIC_DEAD_LETTERS;
  const progressSpec = progressTopic(topic);
  await using opened = new AsyncDisposableStack();
  const groupId = `${settings.KAFKA_GROUP_ID}.redrive`;
  const lock = opened.use(createRedriveLock({ kafka, groupId, topic: progressSpec.topic, log, signal }));
  if (!dryRun) await lock.waitForOthers();
  const reader = opened.use(await openTopicReader(kafka));
  const producer = createProducer(kafka);
  const stopped = AbortSignal.any([signal, lock.lost]);

  const extents = await reader.extents(topic);
  let progress = await loadProgress(reader, topic, extents);
  let started = dryRun;
  /** Waits until there is something to do: to join a group may take seconds. */
  const start = async () => {
    await ensureTopic(kafka, progressSpec);
    await lock.acquire();
    progress = await loadProgress(reader, topic, extents);
    await producer.connect();
    opened.defer(() => producer.disconnect());
    started = true;
  };
  const isDue = (partition: number) => (letter: KafkaMessage) => {
    const own = readReason(letter);
    if (reason !== undefined && own !== reason) return false;
    return !isDone(progress.get(partition), BigInt(letter.offset), own);
  };
  const record = async (partition: number, next: bigint, last: KafkaMessage) => {
    const reached = advance(progress.get(partition), next, reason, last);
    progress.set(partition, reached);
    await saveProgress(producer, topic, partition, reached);
  };

  const ranges = [...extents].map(([partition, { start: first, end }]) => {
    const done = progress.get(partition)?.all ?? 0n;
    return { partition, start: done > first ? done : first, end };
  });
  const total = ranges.reduce((sum, { start: first, end }) => sum + Number(end - first), 0);
  const driven = new Map<string, number>();
  let looked = 0;
  for (const { partition, ...range } of ranges) {
    let last: KafkaMessage | undefined;
    let at = range.start;
    for await (const { messages, next } of reader.read(topic, partition, range)) {
      stopped.throwIfAborted();
      if (!started && messages.some(isDue(partition))) await start();
      for (const chunk of inChunks(messages.filter(isDue(partition)))) {
        stopped.throwIfAborted();
        const staying = dryRun
          ? []
          : await sendBack(chunk, { reader, producer, topic: settings.TOPIC_SOURCE });
        staying.forEach(onStaying);
        for (const letter of new Set(chunk).difference(new Set(staying.map((one) => one.letter)))) {
          driven.set(readReason(letter), (driven.get(readReason(letter)) ?? 0) + 1);
        }
        const latest = chunk.at(-1);
        if (!dryRun && latest) await record(partition, BigInt(latest.offset) + 1n, latest);
      }
      last = messages.at(-1) ?? last;
      looked += Number(next - at);
      at = next;
      onProgress(looked, total);
    }
    if (started && !dryRun && last) await record(partition, range.end, last);
  }
  return driven;
};
