import type { TestContext } from "node:test";
import {
  type Admin,
  type ConsumerConfig,
  Kafka,
  type KafkaMessage,
  logLevel,
  Partitioners,
  type Producer,
} from "kafkajs";
import { type BrokerOptions, createBroker } from "../../src/stack/broker/broker.ts";
import { afterwards, eventually, randomName } from "./contract.ts";

/** Brokers of a real Kafka to run the contract against, as `host:port,host:port`; without, an embedded one is started. */
const realBrokers = process.env.KAFKA_BROKERS;
/** A real Kafka accepts no session below 6 s. */
export const sessionTimeoutMs = realBrokers === undefined ? 1_000 : 6_000;

/** The brokers a contract test talks to. An embedded one is stopped after the test. */
export const startBrokers = async (t: TestContext): Promise<string[]> => {
  if (realBrokers !== undefined) return realBrokers.split(",");
  const { port } = await startEmbedded(t);
  return [`127.0.0.1:${port}`];
};

/** A broker with options of its own, for tests that are not part of the contract. */
export const startEmbedded = async (t: TestContext, options?: BrokerOptions) => {
  const broker = createBroker(options);
  afterwards(t, () => broker.stop());
  const { host, port } = await broker.listen({ port: 0 });
  return { broker, port, kafka: createKafka([`${host}:${port}`]) };
};

export const createKafka = (brokers: string[], retries = 8) =>
  new Kafka({ brokers, logLevel: logLevel.NOTHING, retry: { initialRetryTime: 50, retries } });

export const connectAdmin = async (t: TestContext, kafka: Kafka): Promise<Admin> => {
  const admin = kafka.admin();
  afterwards(t, () => admin.disconnect());
  await admin.connect();
  return admin;
};

export const connectProducer = async (
  t: TestContext,
  kafka: Kafka,
  idempotent = false,
): Promise<Producer> => {
  const producer = kafka.producer({ createPartitioner: Partitioners.DefaultPartitioner, idempotent });
  afterwards(t, () => producer.disconnect());
  await producer.connect();
  return producer;
};

export const createTopic = async (admin: Admin, numPartitions = 1): Promise<string> => {
  const topic = randomName("topic");
  // Not left to `waitForLeaders`: kafkajs 2.2.4 fails where Kafka does not yet know what it has just made.
  await admin.createTopics({ topics: [{ topic, numPartitions }], waitForLeaders: false });
  await eventually("the topic to have leaders", async () => {
    const metadata = await admin.fetchTopicMetadata({ topics: [topic] }).catch(() => undefined);
    const partitions = metadata?.topics[0]?.partitions ?? [];
    return partitions.length === numPartitions && partitions.every(({ leader }) => leader >= 0);
  });
  return topic;
};

/** Starts a consumer from the beginning that heartbeats often; what it has read and owns can be looked at. */
export const startConsumer = async (
  t: TestContext,
  kafka: Kafka,
  topic: string,
  config: ConsumerConfig,
  onMessage: () => Promise<void> = async () => {},
) => {
  const consumer = kafka.consumer({
    maxWaitTimeInMs: 100,
    heartbeatInterval: 100,
    sessionTimeout: sessionTimeoutMs,
    ...config,
  });
  afterwards(t, () => consumer.disconnect());
  const messages: (KafkaMessage & { partition: number })[] = [];
  const running = { consumer, messages, assigned: [] as number[], joins: 0 };
  consumer.on(consumer.events.GROUP_JOIN, ({ payload }) => {
    running.assigned = payload.memberAssignment[topic] ?? [];
    running.joins++;
  });
  await consumer.connect();
  await consumer.subscribe({ topic, fromBeginning: true });
  await consumer.run({
    eachMessage: async ({ message, partition }) => {
      messages.push({ ...message, partition });
      await onMessage();
    },
  });
  return running;
};

/** How many different messages were read: delivery is at least once. */
export const distinct = (messages: readonly { partition: number; offset: string }[]): number =>
  new Set(messages.map(({ partition, offset }) => `${partition}@${offset}`)).size;
