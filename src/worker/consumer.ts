import type { EachBatchPayload, Kafka, KafkaMessage } from "kafkajs";
import { roundRobinAmongSubscribers } from "../kafka/assigner.ts";
import { METADATA_MAX_AGE_MS } from "../kafka/client.ts";
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
  /** Makes the topic again if it is gone. Called when the consumer cannot go on and before it starts anew. */
  readonly restoreTopics: () => Promise<void>;
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
/** How long dispatches under way may take to end when a batch is left, in milliseconds: the group waits meanwhile. */
const LEAVE_TIMEOUT_MS = 3000;
/** At most so much of a partition is in memory, or one message if that is larger. */
const MAX_BYTES_PER_PARTITION = 256 * 1024;

/**
 * Joins the consumer group and hands every message to `dispatch`, up to `concurrency` at once and in any order of
 * completion, while it commits only what is done without a gap: at-least-once.
 *
 * A batch is left at the first heartbeat or commit that fails, since the partition may be another consumer's soon.
 * kafkajs joins anew, and whoever owns the partition gets what was not committed.
 */
export const startConsumer = async (options: ConsumerOptions): Promise<RunningConsumer> => {
  const { kafka, groupId, topic, sessionTimeoutMs, restoreTopics, log } = options;
  const consumer = kafka.consumer({
    groupId,
    sessionTimeout: sessionTimeoutMs,
    heartbeatInterval: sessionTimeoutMs / 4,
    maxWaitTimeInMs: MAX_WAIT_MS,
    maxBytesPerPartition: MAX_BYTES_PER_PARTITION,
    metadataMaxAge: METADATA_MAX_AGE_MS,
    allowAutoTopicCreation: false,
    partitionAssigners: [roundRobinAmongSubscribers],
    retry: {
      // Some 15 s until a topic that is gone is made again.
      retries: 6,
      maxRetryTime: 5000,
      restartOnFailure: async () => {
        await restoreTopics().catch((error) => log.warn(`cannot look for ${topic}: ${describe(error)}`));
        return true;
      },
    },
  });
  const stopping = new AbortController();
  const failed = Promise.withResolvers<never>();
  failed.promise.catch(() => {});
  let assigned: readonly number[] = [];

  consumer.on(consumer.events.GROUP_JOIN, ({ payload }) => {
    const partitions = payload.memberAssignment[topic] ?? [];
    assigned = partitions;
    tell("group.joined", { topic, partitions });
    log.info(`joined consumer group ${groupId}, partitions of ${topic}: ${partitions.join(", ") || "none"}`);
  });
  for (const event of [consumer.events.REBALANCING, consumer.events.CRASH, consumer.events.STOP] as const) {
    consumer.on(event, () => tell("group.left", { topic }));
  }
  consumer.on(consumer.events.CRASH, ({ payload }) => {
    if (!payload.restart) failed.reject(payload.error);
  });
  // Where a batch holds control records and aborted messages only, kafkajs moves on by itself and commits nothing.
  consumer.on(
    consumer.events.END_BATCH_PROCESS,
    async ({ payload: { partition, batchSize, lastOffset } }) => {
      if (batchSize > 0) return;
      const offset = String(BigInt(lastOffset) + 1n);
      // Whoever gets the partition next reads the same batch and does the same.
      await consumer.commitOffsets([{ topic, partition, offset }]).catch(() => {});
    },
  );

  await consumer.connect();
  await consumer.subscribe({ topic, fromBeginning: true });
  await consumer.run({
    autoCommit: false,
    eachBatchAutoResolve: false,
    eachBatch: (payload) => {
      const isOurs = () => assigned.includes(payload.batch.partition);
      return dispatchBatch(payload, { ...options, isOurs }, stopping.signal);
    },
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

/**
 * Works on one batch until it is done, left, or `stopping` is aborted. However it ends, what is done is committed,
 * unless `isOurs` says that the partition is another consumer's by now.
 */
export const dispatchBatch = async (
  { batch, heartbeat, resolveOffset, commitOffsetsIfNecessary }: EachBatchPayload,
  {
    dispatch,
    concurrency,
    isOurs = () => true,
  }: Pick<ConsumerOptions, "dispatch" | "concurrency"> & { isOurs?: () => boolean },
  stopping: AbortSignal,
): Promise<void> => {
  const { topic, partition, messages } = batch;
  const lag = Number(BigInt(batch.highWatermark) - BigInt(batch.lastOffset()) - 1n);
  tell("messages.received", { topic, partition, count: messages.length, lag });
  const prefix = createCommitPrefix();
  const left = new AbortController();
  const signal = AbortSignal.any([stopping, left.signal]);

  let next = 0;
  const dispatchInTurn = async () => {
    for (let index = next++; index < messages.length; index = next++) {
      signal.throwIfAborted();
      const message = messages[index];
      if (message) await dispatch(message, partition, signal);
      prefix.done(index);
    }
  };
  const lanes = Array.from({ length: Math.min(concurrency, messages.length) }, dispatchInTurn);
  const dispatched = Promise.all(lanes);
  dispatched.catch(() => {});

  let committed = 0;
  const commit = async () => {
    const done = prefix.length;
    if (done === committed || !isOurs()) return;
    // Past the last message the batch may end in control records, which are done with it.
    const last = done === messages.length ? batch.lastOffset() : messages[done - 1]?.offset;
    if (last === undefined) return;
    resolveOffset(last);
    const offset = String(BigInt(last) + 1n);
    await commitOffsetsIfNecessary({
      topics: [{ topic, partitions: [{ partition, offset }] }],
    });
    committed = done;
  };

  try {
    while (!(await doneWithin(dispatched, TICK_MS))) {
      await heartbeat();
      await commit();
    }
  } catch (error) {
    // Nothing more is begun. What is on its way to the broker or server ends there all the same.
    left.abort();
    await doneWithin(Promise.allSettled(lanes), LEAVE_TIMEOUT_MS);
    if (!stopping.aborted) {
      // The broker takes a commit until the group has agreed anew. If it does not, the reason to leave is what counts.
      await commit().catch(() => {});
      throw error;
    }
  }
  await commit();
};
