import kafkajs, { type Kafka, type Message, Partitioners, type Producer, type ProducerRecord } from "kafkajs";
import { orAccessError } from "./access.ts";
import { METADATA_MAX_AGE_MS } from "./client.ts";

/**
 * A producer whose acknowledged messages are on the log: all in-sync replicas, and not idempotent, since kafkajs
 * 2.2.4's idempotent producer drops acknowledged messages after a rejected send. The price is a message sent twice
 * when only the acknowledgement was lost.
 *
 * kafkajs 2.2.4 also resolves a send of which it has left something out: messages for a partition that it does not know
 * yet, and those whose partition, while it tries again, moves to a broker that has acknowledged others of the same send
 * (its issue 1303 and pull request 1798). Such a send rejects here; who repeats it sends all of its messages again.
 */
export const createProducer = (kafka: Pick<Kafka, "producer">): Producer => {
  const partitions = new WeakMap<Message, number>();
  const producer = kafka.producer({
    idempotent: false,
    // A topic that is missing must not come into being with the broker's default of partitions.
    allowAutoTopicCreation: false,
    metadataMaxAge: METADATA_MAX_AGE_MS,
    createPartitioner: () => {
      const choose = Partitioners.DefaultPartitioner();
      // A message without a key stays with its first choice, also when kafkajs tries again.
      return (args) => partitions.getOrInsertComputed(args.message, () => choose(args));
    },
    retry: { initialRetryTime: 200, maxRetryTime: 5000, retries: 10 },
  });
  const sendAll = async (record: ProducerRecord) => {
    // The partition of a message is that of this send only.
    const messages = record.messages.map((message) => ({ ...message }));
    const acknowledged = await producer.send({ ...record, messages });
    const known = new Set(acknowledged.map(({ partition }) => partition));
    const missing = messages.filter((message) => !known.has(partitions.get(message) ?? -1));
    if (missing.length === 0) return acknowledged;
    const { length } = messages;
    throw new kafkajs.KafkaJSError(
      `expected ${record.topic} to acknowledge ${length} messages, got no answer for ${missing.length}`,
    );
  };
  return {
    ...producer,
    /** @throws {AccessError} when the broker refuses this client */
    send: (record) => orAccessError(sendAll(record), { topic: `Write on topic ${record.topic}` }),
  };
};
