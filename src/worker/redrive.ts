import { randomUUID } from "node:crypto";
import type { IHeaders, Kafka, KafkaMessage, Message } from "kafkajs";
import { createProducer } from "../kafka/client.ts";
import { writableHeaders } from "../kafka/headers.ts";
import { aborted } from "../support/signals.ts";
import { EXECUTION_FAILED, HEADERS, INVALID_REDRIVE_COUNT, REDRIVES_HEADER } from "./dead-letter.ts";
import type { WorkerSettings } from "./settings.ts";

export interface RedriveOptions {
  readonly settings: Pick<WorkerSettings, "KAFKA_GROUP_ID" | "TOPIC_SOURCE" | "TOPIC_DEAD_LETTERS">;
  readonly kafka: Kafka;
  /** Only dead letters of this reason; all when absent. */
  readonly reason?: string | undefined;
  /** Told after each message that went back. */
  readonly onDriven: (reason: string, total: number) => void;
  readonly signal: AbortSignal;
}

const readReason = ({ headers }: KafkaMessage): string => String(headers?.[HEADERS.reason] ?? "unknown");

/**
 * The message as it was before it became a dead letter. One whose execution failed counts its redrives up, and
 * with them its execution's id, since the failed promise would only give its failure again. A count that could not be
 * read is dropped: it would only be refused again.
 */
export const toOriginal = (message: KafkaMessage): Message => {
  const { key, value, headers } = message;
  const own = new Set<string>(Object.values(HEADERS));
  const original: IHeaders = Object.fromEntries(
    Object.entries(writableHeaders(headers)).filter(([name]) => !own.has(name)),
  );
  const reason = readReason(message);
  if (reason === EXECUTION_FAILED) {
    original[REDRIVES_HEADER] = String(Number(headers?.[REDRIVES_HEADER] ?? 0) + 1);
  }
  if (reason === INVALID_REDRIVE_COUNT) delete original[REDRIVES_HEADER];
  return { key, value, headers: original };
};

/**
 * Sends dead letters back to the topic they came from: those that are there when it starts and have not been sent
 * back before. How far it has come is kept in one consumer group for each reason, so that one reason and later all
 * do not overlap. After a crash between a send and its commit a message goes back twice, to the same execution.
 *
 * @returns how many went back, by reason
 * @throws the reason of `signal` when it is aborted; what kafkajs throws when the broker cannot be reached
 */
export const redrive = async (options: RedriveOptions): Promise<ReadonlyMap<string, number>> => {
  const { settings, kafka, onDriven, signal } = options;
  const waiting = new Set<string>();
  await readToEnd(options, `look-${randomUUID()}`, async (message) => {
    waiting.add(readReason(message));
  });

  const driven = new Map<string, number>();
  const producer = createProducer(kafka);
  await producer.connect();
  try {
    for (const reason of options.reason === undefined
      ? waiting
      : waiting.intersection(new Set([options.reason]))) {
      await readToEnd(options, reason, async (message) => {
        signal.throwIfAborted();
        if (readReason(message) !== reason) return;
        await producer.send({ topic: settings.TOPIC_SOURCE, acks: -1, messages: [toOriginal(message)] });
        driven.set(reason, (driven.get(reason) ?? 0) + 1);
        onDriven(reason, driven.get(reason) ?? 0);
      });
    }
  } finally {
    await producer.disconnect();
  }
  return driven;
};

/**
 * Reads the dead-letter topic from where group `suffix` has come, to its end as of now, one message after the other,
 * and commits behind each.
 */
const readToEnd = async (
  { settings, kafka, signal }: RedriveOptions,
  suffix: string,
  onMessage: (message: KafkaMessage) => Promise<void>,
): Promise<void> => {
  const topic = settings.TOPIC_DEAD_LETTERS;
  const groupId = `${settings.KAFKA_GROUP_ID}.redrive.${suffix}`;
  const unread = await findUnread(kafka, topic, groupId);
  if (unread.size === 0) return;

  const consumer = kafka.consumer({ groupId, maxWaitTimeInMs: 500 });
  const finished = Promise.withResolvers<void>();
  consumer.on(consumer.events.CRASH, ({ payload }) => finished.reject(payload.error));
  await consumer.connect();
  try {
    await consumer.subscribe({ topic, fromBeginning: true });
    await consumer.run({
      autoCommit: false,
      eachBatchAutoResolve: false,
      eachBatch: async ({ batch, resolveOffset, commitOffsetsIfNecessary, heartbeat, pause }) => {
        const { partition } = batch;
        const end = unread.get(partition) ?? 0n;
        for (const message of batch.messages) {
          if (BigInt(message.offset) >= end) break;
          await onMessage(message);
          resolveOffset(message.offset);
          const offset = String(BigInt(message.offset) + 1n);
          await commitOffsetsIfNecessary({ topics: [{ topic, partitions: [{ partition, offset }] }] });
          await heartbeat();
        }
        if (BigInt(batch.lastOffset()) + 1n < end) return;
        unread.delete(partition);
        pause();
        if (unread.size === 0) finished.resolve();
      },
    });
    await Promise.race([finished.promise, aborted(signal)]);
    signal.throwIfAborted();
  } finally {
    await consumer.disconnect();
  }
};

/** The end of each partition in which `groupId` has not read all there is. */
const findUnread = async (kafka: Kafka, topic: string, groupId: string): Promise<Map<number, bigint>> => {
  const admin = kafka.admin();
  await admin.connect();
  try {
    const offsets = await admin.fetchTopicOffsets(topic);
    const [own] = await admin.fetchOffsets({ groupId, topics: [topic] });
    const committed = new Map(own?.partitions.map(({ partition, offset }) => [partition, BigInt(offset)]));
    const unread = offsets.filter(({ partition, low, high }) => {
      const next = committed.get(partition) ?? -1n;
      return (next > BigInt(low) ? next : BigInt(low)) < BigInt(high);
    });
    return new Map(unread.map(({ partition, high }) => [partition, BigInt(high)]));
  } finally {
    await admin.disconnect();
  }
};
