import { errors } from "./errors.ts";
import type { PartitionLog } from "./log.ts";
import { type Handler, noThrottle } from "./request.ts";

/** Produce 3–7. With acks 0 the client expects no answer. */
export const produce: Handler = async ({ state, version, body }, answer) => {
  body.nullableString(); // transactional id
  const acks = body.int16();
  body.int32(); // timeout
  const topics = body.array(() => {
    const topic = body.string();
    return {
      topic,
      partitions: body.array(() => ({
        partition: body.int32(),
        records: body.nullableBytes(),
      })),
    };
  });
  const append = (topic: string, partition: number, records: Buffer | null) => {
    if (acks < -1 || acks > 1) return { error: errors.invalidRequiredAcks, baseOffset: -1n };
    const log = state.topics.log(topic, partition);
    if (log === undefined) return { error: errors.unknownTopicOrPartition, baseOffset: -1n };
    return log.append(records ?? Buffer.alloc(0));
  };
  answer.array(topics, ({ topic, partitions }) => {
    answer.string(topic).array(partitions, ({ partition, records }) => {
      const { error, baseOffset } = append(topic, partition, records);
      answer.int32(partition).int16(error).int64(baseOffset).int64(-1n); // -1: timestamps are the clients'
      if (version >= 5) answer.int64(0n); // start of the log
    });
  });
  answer.int32(noThrottle);
  if (acks === 0) answer.discard();
};

/** InitProducerId 0–1: an id for an idempotent producer. Its sequence numbers are not checked. */
export const initProducerId: Handler = async ({ state, body }, answer) => {
  const transactional = body.nullableString() !== null;
  const id = transactional ? -1n : state.nextProducerId++;
  answer.int32(noThrottle).int16(transactional ? errors.invalidRequest : errors.none);
  answer.int64(id).int16(transactional ? -1 : 0);
};

/**
 * Fetch 4–11, held back until there are minBytes or maxWaitMs have passed. Fetch sessions (v7) are declined with
 * session id 0: every request then lists all its partitions.
 */
export const fetch: Handler = async ({ state, version, body, closed }, answer) => {
  body.int32(); // replica id
  const maxWaitMs = body.int32();
  const minBytes = body.int32();
  const maxBytes = body.int32();
  body.int8(); // isolation level
  if (version >= 7) body.int64(); // session id and epoch
  const wanted = body.array(() => {
    const topic = body.string();
    const partitions = body.array(() => {
      const partition = body.int32();
      if (version >= 9) body.int32(); // leader epoch
      const offset = body.int64();
      if (version >= 5) body.int64(); // a follower's log start
      const log = state.topics.log(topic, partition);
      return {
        partition,
        offset,
        maxBytes: body.int32(),
        log,
        error: checkFetch(log, offset),
      };
    });
    return { topic, partitions };
  });

  const positions = wanted.flatMap(({ partitions }) => partitions);
  const logs = positions.flatMap(({ log }) => log ?? []);
  const available = positions.reduce((sum, { log, offset }) => sum + (log?.bytesFrom(offset) ?? 0), 0);
  if (logs.length > 0 && positions.every(({ error }) => error === errors.none)) {
    await bytesAppended(logs, minBytes - available, maxWaitMs, closed);
  }

  let budget = maxBytes;
  let empty = true;
  answer.int32(noThrottle);
  if (version >= 7) answer.int16(errors.none).int32(0); // session id
  answer.array(wanted, ({ topic, partitions }) => {
    answer
      .string(topic)
      .array(partitions, ({ partition, log, error: found, offset, maxBytes: partitionMaxBytes }) => {
        // The topic may have been deleted meanwhile, and even made again.
        const isSame = state.topics.log(topic, partition) === log;
        const error = isSame ? found : errors.unknownTopicOrPartition;
        const readable = error === errors.none ? log : undefined;
        const batches = readable?.read(offset, Math.min(budget, partitionMaxBytes), empty) ?? [];
        const size = batches.reduce((sum, batch) => sum + batch.length, 0);
        const endOffset = log?.endOffset ?? -1n;
        budget -= size;
        if (size > 0) empty = false;
        answer.int32(partition).int16(error).int64(endOffset).int64(endOffset); // high watermark, last stable offset
        if (version >= 5) answer.int64(log ? 0n : -1n); // start of the log
        answer.int32(0); // aborted transactions: none
        if (version >= 11) answer.int32(-1); // preferred read replica
        answer.int32(size);
        for (const batch of batches) answer.raw(batch);
      });
  });
};

const checkFetch = (log: PartitionLog | undefined, offset: bigint) => {
  if (log === undefined) return errors.unknownTopicOrPartition;
  return log.holds(offset) ? errors.none : errors.offsetOutOfRange;
};

/** Resolves when so many bytes have been appended to the logs, the wait is over or the connection has closed. */
const bytesAppended = (
  logs: readonly PartitionLog[],
  bytes: number,
  maxWaitMs: number,
  closed: AbortSignal,
) => {
  if (bytes <= 0 || maxWaitMs <= 0 || closed.aborted) return;
  const { promise, resolve } = Promise.withResolvers<void>();
  let missing = bytes;
  const stops = logs.map((log) =>
    log.onAppend((appended) => {
      missing -= appended;
      if (missing <= 0) resolve();
    }),
  );
  const timer = setTimeout(resolve, maxWaitMs);
  const stop = () => resolve();
  closed.addEventListener("abort", stop);
  return promise.finally(() => {
    for (const stopListening of stops) stopListening();
    clearTimeout(timer);
    closed.removeEventListener("abort", stop);
  });
};
