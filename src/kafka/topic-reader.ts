import { setTimeout } from "node:timers/promises";
import kafkajs, { type Cluster, type Kafka, type KafkaMessage } from "kafkajs";
import Batch from "kafkajs/src/consumer/batch.js";

/** Where a partition's messages begin and end; `end` is the offset that the next message will have. */
export interface Extent {
  readonly start: bigint;
  readonly end: bigint;
}

/** Messages of one partition in order, and the offset after them and whatever else stood between. */
interface Page {
  readonly messages: readonly KafkaMessage[];
  readonly next: bigint;
}

/** Reads topics by place, with no consumer group: nothing is joined, waited for, committed or left behind. */
export interface TopicReader extends AsyncDisposable {
  /** The partitions of a topic, none when there is no such topic. */
  extents(topic: string): Promise<ReadonlyMap<number, Extent>>;
  /** Messages from offset `start` up to, without, `end`. Control records and aborted messages are left out. */
  read(topic: string, partition: number, range: Extent): AsyncGenerator<Page>;
}

const READ_COMMITTED = 1;
const MAX_BYTES = 1024 * 1024;
const FETCH_WAIT_MS = 250;
/** How often a fetch may fail, or find nothing, before a read is given up: some 10 s. */
const MAX_TRIES = 20;

/**
 * A client of kafkajs 2.2.4's inner kind, with the brokers and the security of `kafka`: it fetches by offset, as the
 * public consumer does only within a group.
 */
const createCluster = (kafka: Kafka): Cluster => {
  const symbol = Object.getOwnPropertySymbols(kafka).find(
    ({ description }) => description === "private:Kafka:createCluster",
  );
  const create: unknown = symbol && Reflect.get(kafka, symbol);
  if (typeof create !== "function") throw new Error("expected kafkajs 2.2.4, got another release");
  return create({ allowAutoTopicCreation: false, isolationLevel: READ_COMMITTED });
};

/** Opens a reader. Rejects with what kafkajs throws when the broker cannot be reached. */
export const openTopicReader = async (kafka: Kafka): Promise<TopicReader> => {
  const cluster = createCluster(kafka);
  await cluster.connect();

  const fetch = async (topic: string, partition: number, offset: bigint): Promise<Page> => {
    const leaders = cluster.findLeaderForPartitions(topic, [partition]);
    const broker = await cluster.findBroker({ nodeId: Object.keys(leaders)[0] ?? "none" });
    const fetchOffset = String(offset);
    const { responses } = await broker.fetch({
      isolationLevel: READ_COMMITTED,
      maxWaitTime: FETCH_WAIT_MS,
      maxBytes: MAX_BYTES,
      topics: [{ topic, partitions: [{ partition, fetchOffset, maxBytes: MAX_BYTES }] }],
    });
    const data = responses[0].partitions[0];
    if (data.messages.length === 0) return { messages: [], next: offset };
    const batch = new Batch(topic, fetchOffset, data);
    return { messages: batch.messages, next: BigInt(batch.lastOffset()) + 1n };
  };

  return {
    extents: async (topic) => {
      // A client that was told no topics asks for all there are: so a missing one is no error, and not made either.
      await cluster.refreshMetadata();
      const partitions = cluster
        .findTopicPartitionMetadata(topic)
        .map(({ partitionId }) => ({ partition: partitionId }));
      if (partitions.length === 0) return new Map();
      const find = async (fromBeginning: boolean) => {
        const [found] = await cluster.fetchTopicsOffset([{ topic, partitions, fromBeginning }]);
        return new Map(found?.partitions.map(({ partition, offset }) => [partition, BigInt(offset)]));
      };
      const [starts, ends] = await Promise.all([find(true), find(false)]);
      return new Map(
        [...ends].map(([partition, end]) => [partition, { start: starts.get(partition) ?? 0n, end }]),
      );
    },
    read: async function* (topic, partition, { start, end }) {
      let failures = 0;
      for (let at = start; at < end; ) {
        const page = await fetch(topic, partition, at).catch(async (error) => {
          if (!(error instanceof kafkajs.KafkaJSError && error.retriable) || failures >= MAX_TRIES)
            throw error;
          await setTimeout(FETCH_WAIT_MS);
          await cluster.refreshMetadata().catch(() => {});
          return { messages: [], next: at };
        });
        failures = page.next > at ? 0 : failures + 1;
        if (failures > MAX_TRIES) {
          throw new Error(
            `expected to read partition ${partition} of ${topic} up to offset ${end}, got to ${at}`,
          );
        }
        at = page.next;
        if (at > end) at = end;
        yield { messages: page.messages.filter(({ offset }) => BigInt(offset) < end), next: at };
      }
    },
    [Symbol.asyncDispose]: () => cluster.disconnect(),
  };
};
