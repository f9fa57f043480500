import kafkajs, { type Consumer, type Kafka } from "kafkajs";
import { findAccessError, orAccessError } from "../kafka/access.ts";
import { roundRobinAmongSubscribers } from "../kafka/assigner.ts";
import { METADATA_MAX_AGE_MS } from "../kafka/client.ts";
import { isOutage } from "../kafka/errors.ts";
import { AccessError } from "../support/access-error.ts";
import { describe } from "../support/errors.ts";
import type { Log } from "../support/log.ts";
import { retryUntilDone } from "../support/retry.ts";
import { type Dispatch, dispatchBatch } from "./batch.ts";
import { tell } from "./telemetry.ts";

export interface ConsumerOptions {
  readonly kafka: Kafka;
  /** Takes a listener, which is called when the topic is not there. */
  readonly onTopicGone?: (listener: () => void) => void;
  readonly groupId: string;
  readonly topic: string;
  readonly dispatch: Dispatch;
  /** A dead consumer's partitions wait so long for another, in milliseconds. */
  readonly sessionTimeoutMs: number;
  /** Messages being dispatched at the same time. */
  readonly concurrency: number;
  /**
   * Makes the topic again if it is gone; throws when rights are missing: of a group that lets a consumer in no more,
   * kafkajs says only that it has no coordinator. Called when the consumer cannot go on and before it starts anew.
   */
  readonly restoreTopics: () => Promise<void>;
  readonly log: Log;
  /** Ends the tries to join. */
  readonly signal: AbortSignal;
}

export interface RunningConsumer {
  /** Rejects when the consumer is dead for good while its process lives: nothing will be consumed any more. */
  readonly failed: Promise<never>;
  /** Stops taking messages and leaves the group. What was dispatched until then is committed. */
  stop(): Promise<void>;
}

/** How long a fetch waits for messages, and so how long an idle consumer takes to stop. */
const MAX_WAIT_MS = 1000;
/** At most so much of a partition is in memory, or one message if that is larger. */
const MAX_BYTES_PER_PARTITION = 256 * 1024;

/**
 * Joins the consumer group and hands every message to `dispatch`, up to `concurrency` at once and in any order of
 * completion, while it commits only what is done without a gap: at-least-once.
 *
 * A batch is left at the first heartbeat or commit that fails, since the partition may be another consumer's soon.
 * kafkajs joins anew, and whoever owns the partition gets what was not committed.
 *
 * @throws {AccessError} when the broker does not let it in at the start; later that is an outage
 * @throws the reason of `signal`, once that is aborted while it joins
 */
export const startConsumer = async (options: ConsumerOptions): Promise<RunningConsumer> => {
  const { groupId, topic, restoreTopics, log } = options;
  const rights = { topic: `Read on topic ${topic}`, group: `Read on group ${groupId}` };
  const stopping = new AbortController();
  const signal = AbortSignal.any([stopping.signal, options.signal]);
  const joinOnce = () => orAccessError(join(options, signal), rights);
  const tryOn = {
    signal,
    minDelayMs: 1000,
    onFailure: (failure: unknown) => log.error(`nothing is consumed, trying on: ${describe(failure)}`),
  };
  const isFinal = (error: unknown) => error instanceof AccessError || !isOutage(error);
  let member = await retryUntilDone(joinOnce, { ...tryOn, isFinal });

  const joinAnew = async () => {
    try {
      return await joinOnce();
    } catch (failure) {
      if (!(failure instanceof AccessError)) await restoreTopics();
      throw failure;
    }
  };
  /** Joins anew when it was an outage that ended the consumer; rejects with what ends it for good. */
  const consume = async (): Promise<never> => {
    for (;;) {
      const error = await member.ended;
      await member.consumer.disconnect();
      const ended = findAccessError(error, rights) ?? error;
      if (!isOutage(ended)) throw error;
      tryOn.onFailure(ended);
      member = await retryUntilDone(joinAnew, tryOn);
    }
  };
  const failed = consume();
  failed.catch(() => {});

  return {
    failed,
    stop: async () => {
      stopping.abort();
      await member.consumer.stop();
      await member.consumer.disconnect();
    },
  };
};

/** A consumer, and the error that ends it: kafkajs goes on by itself after all others. */
interface Member {
  readonly consumer: Consumer;
  readonly ended: Promise<Error>;
}

/** Joins the group and begins to consume. Rejects when the broker does not let it in. */
const join = async (options: ConsumerOptions, signal: AbortSignal): Promise<Member> => {
  const { kafka, groupId, topic, sessionTimeoutMs, restoreTopics, onTopicGone = () => {}, log } = options;
  const leaving = new AbortController();
  const stopping = AbortSignal.any([signal, leaving.signal]);
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
        await restoreTopics().catch((error) =>
          log.warn(`nothing is consumed, trying on: ${describe(error)}`),
        );
        return true;
      },
    },
  });
  const ended = Promise.withResolvers<Error>();
  let assigned: readonly number[] = [];
  // kafkajs would go on at its place in the old topic once there is a new one. A consumer that joins anew starts from the
  // committed offsets, which the broker deletes with the topic. So nothing of the old topic is committed from here on.
  onTopicGone(() => {
    if (leaving.signal.aborted) return;
    assigned = [];
    leaving.abort();
    ended.resolve(new kafkajs.KafkaJSError(`topic ${topic} is not there`, { retriable: true }));
  });

  consumer.on(consumer.events.GROUP_JOIN, ({ payload }) => {
    const partitions = payload.memberAssignment[topic] ?? [];
    assigned = partitions;
    tell("group.joined", { topic, partitions, memberId: payload.memberId });
    log.info(
      { topic, partitions },
      `joined consumer group ${groupId}, partitions of ${topic}: ${partitions.join(", ") || "none"}`,
    );
  });
  for (const event of [consumer.events.REBALANCING, consumer.events.CRASH, consumer.events.STOP] as const) {
    consumer.on(event, () => tell("group.left", { topic }));
  }
  let crash: Error | undefined;
  consumer.on(consumer.events.CRASH, ({ payload }) => {
    if (payload.restart) return;
    crash = payload.error;
    ended.resolve(payload.error);
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

  try {
    await consumer.connect();
    await consumer.subscribe({ topic, fromBeginning: true });
    await consumer.run({
      autoCommit: false,
      eachBatchAutoResolve: false,
      eachBatch: (payload) => {
        const isOurs = () => assigned.includes(payload.batch.partition);
        return dispatchBatch(payload, { ...options, isOurs }, stopping);
      },
    });
    // kafkajs tells of a group that does not let it in by this event only.
    if (crash) throw crash;
    stopping.throwIfAborted();
  } catch (error) {
    await consumer.disconnect();
    throw error;
  }
  return { consumer, ended: ended.promise };
};
