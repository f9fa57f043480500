import type { EachBatchPayload, Kafka, KafkaMessage } from "kafkajs";
import { describe } from "../support/errors.ts";
import type { Log } from "../support/log.ts";
import { doneWithin } from "../support/retry.ts";
import { createCommitPrefix } from "./commit-prefix.ts";
import { tell } from "./telemetry.ts";

/**
 * Takes charge of one message: when the promise resolves, the message has a durable execution or a place in the
 * dead-letter topic. Tries as long as it takes and rejects only after `signal` is aborted.
 */
export type Dispatch = (message: KafkaMessage, partition: number, signal: AbortSignal) => Promise<void>;

export interface ConsumerOptions {
  readonly kafka: Kafka;
  readonly groupId: string;
  readonly topic: string;
  readonly dispatch: Dispatch;
  /** A dead consumer's partitions wait so long for another, in milliseconds. */
  readonly sessionTimeoutMs: number;
  /** Messages being dispatched at the same time. */
  readonly concurrency: number;
  readonly log: Log;
}

export interface RunningConsumer {
  /** Rejects when the consumer is dead for good while its process lives: nothing will be consumed any more. */
  readonly failed: Promise<never>;
  /** Stops taking messages and leaves the group. What was dispatched until then is committed. */
  stop(): Promise<void>;
}

/** How often a batch under way commits what is done and sends its heartbeat, if one is due. */
const TICK_MS = 500;
/** How long a fetch waits for messages, and so how long an idle consumer takes to stop. */
const MAX_WAIT_MS = 1000;
/** At most so much of a partition is in memory, or one message if that is larger. */
const MAX_BYTES_PER_PARTITION = 256 * 1024;

/**
 * Joins the consumer group and hands every message to `dispatch`, up to `concurrency` at once and in any order of
 * completion, while it commits only what is done without a gap: at-least-once.
 *
 * A batch is left at the first heartbeat or commit that fails, since the partition may be another consumer's by
 * then. kafkajs joins anew, and whoever owns the partition gets what was not committed.
 */
export const startConsumer = async (options: ConsumerOptions): Promise<RunningConsumer> => {
  const { kafka, groupId, topic, sessionTimeoutMs, log } = options;
  const consumer = kafka.consumer({
    groupId,
    sessionTimeout: sessionTimeoutMs,
    heartbeatInterval: sessionTimeoutMs / 4,
    maxWaitTimeInMs: MAX_WAIT_MS,
    maxBytesPerPartition: MAX_BYTES_PER_PARTITION,
    retry: { retries: 10, maxRetryTime: 5000 },
  });
  const stopping = new AbortController();
  const failed = Promise.withResolvers<never>();
  failed.promise.catch(() => {});

  consumer.on(consumer.events.GROUP_JOIN, ({ payload }) => {
    const partitions = payload.memberAssignment[topic] ?? [];
    tell("group.joined", { topic, partitions });
    log.info(`joined consumer group ${groupId}, partitions of ${topic}: ${partitions.join(", ") || "none"}`);
  });
  for (const event of [consumer.events.REBALANCING, consumer.events.CRASH, consumer.events.STOP] as const) {
    consumer.on(event, () => tell("group.left", { topic }));
  }
  consumer.on(consumer.events.CRASH, ({ payload }) => {
    if (!payload.restart) failed.reject(payload.error);
  });

  await consumer.connect();
  await consumer.subscribe({ topic, fromBeginning: true });
  await consumer.run({
    autoCommit: false,
    eachBatchAutoResolve: false,
    eachBatch: (payload) => dispatchBatch(payload, options, stopping.signal),
  });

  return {
    failed: failed.promise,
    stop: async () => {
      stopping.abort();
      await consumer.stop();
      await consumer.disconnect();
    },
  };
};

/** Works on one batch until it is done, left, or `stopping` is aborted. */
export const dispatchBatch = async (
  { batch, heartbeat, resolveOffset, commitOffsetsIfNecessary }: EachBatchPayload,
  { dispatch, concurrency }: Pick<ConsumerOptions, "dispatch" | "concurrency">,
  stopping: AbortSignal,
): Promise<void> => {
  const { topic, partition, messages } = batch;
  const end = Number(batch.lastOffset()) + 1;
  const lag = Number(batch.highWatermark) - end;
  tell("messages.received", { topic, partition, count: messages.length, lag, end });
  const prefix = createCommitPrefix();
  const left = new AbortController();
  const signal = AbortSignal.any([stopping, left.signal]);

  let next = 0;
  const dispatchInTurn = async () => {
    for (let index = next++; index < messages.length; index = next++) {
      const message = messages[index];
      if (message) await dispatch(message, partition, signal);
      prefix.done(index);
    }
  };
  const lanes = Math.min(concurrency, messages.length);
  const dispatched = Promise.all(Array.from({ length: lanes }, dispatchInTurn));
  dispatched.catch(() => {});

  let committed = 0;
  const commit = async () => {
    const done = prefix.length;
    if (done === committed) return;
    // Past the last message the batch may end in control records, which are done with it.
    const last = done === messages.length ? batch.lastOffset() : messages[done - 1]?.offset;
    if (last === undefined) return;
    resolveOffset(last);
    const offset = String(BigInt(last) + 1n);
    try {
      await commitOffsetsIfNecessary({ topics: [{ topic, partitions: [{ partition, offset }] }] });
    } catch (error) {
      tell("commit.failed", { topic, partition, error: describe(error) });
      throw error;
    }
    committed = done;
  };

  try {
    while (!(await doneWithin(dispatched, TICK_MS))) {
      await heartbeat();
      await commit();
    }
  } catch (error) {
    left.abort();
    if (!stopping.aborted) throw error;
  }
  await commit();
};
