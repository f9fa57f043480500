import type { EachBatchPayload, KafkaMessage } from "kafkajs";
import { describe } from "../support/errors.ts";
import { doneWithin } from "../support/retry.ts";
import { createCommitPrefix } from "./commit-prefix.ts";
import { tell } from "./telemetry.ts";

/**
 * Takes charge of one message: when the promise resolves, the message has a durable execution or a place in the
 * dead-letter topic. Tries as long as it takes and rejects only after `signal` is aborted.
 */
export type Dispatch = (message: KafkaMessage, partition: number, signal: AbortSignal) => Promise<void>;

/** How often a batch under way commits what is done and sends its heartbeat, if one is due. */
const TICK_MS = 500;
/** How long dispatches under way may take to end when a batch is left, in milliseconds: the group waits meanwhile. */
const LEAVE_TIMEOUT_MS = 3000;

export interface BatchOptions {
  readonly dispatch: Dispatch;
  /** Messages being dispatched at the same time. */
  readonly concurrency: number;
  /** Whether the partition is still this consumer's, as far as it knows. */
  readonly isOurs?: () => boolean;
}

/**
 * Works on one batch until it is done, left, or `stopping` is aborted. However it ends, what is done is committed,
 * unless `isOurs` says that the partition is another consumer's by now.
 */
export const dispatchBatch = async (
  { batch, heartbeat, resolveOffset, commitOffsetsIfNecessary }: EachBatchPayload,
  { dispatch, concurrency, isOurs = () => true }: BatchOptions,
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
