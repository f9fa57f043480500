import assert from "node:assert/strict";
import { test } from "node:test";
import { Kafka, logLevel, type ProducerConfig, type ProducerRecord } from "kafkajs";
import { orOutage } from "../../src/kafka/errors.ts";
import { createProducer } from "../../src/kafka/producer.ts";
import { OutageError } from "../../src/support/errors.ts";
import { connectAdmin, createTopic, startEmbedded } from "../stack/broker-client.ts";
import { afterwards } from "../stack/contract.ts";

test("messages for a partition that the client does not know are not taken for sent", async (t) => {
  const { kafka } = await startEmbedded(t);
  const topic = await createTopic(await connectAdmin(t, kafka), 2);
  const producer = createProducer(kafka);
  afterwards(t, () => producer.disconnect());
  await producer.connect();
  const messages = [0, 1, 2].map((partition) => ({ partition, value: "a" }));
  await assert.rejects(
    orOutage(producer.send({ topic, messages })),
    (error) =>
      error instanceof OutageError &&
      String(error.cause).endsWith(`expected ${topic} to acknowledge 3 messages, got no answer for 1`),
  );
  const acknowledged = await producer.send({ topic, messages: messages.slice(0, 2) });
  assert.deepEqual(acknowledged.map(({ partition, baseOffset }) => [partition, baseOffset]).sort(), [
    [0, "1"],
    [1, "1"],
  ]);
});

const partitionMetadata = [0, 1].map((partitionId) => ({
  partitionErrorCode: 0,
  partitionId,
  leader: 1,
  replicas: [1],
  isr: [1],
}));

/** A client whose producer asks for each message's partition twice, and is told of partition 0 alone. */
const createForgetful = () => {
  const asked: number[][] = [];
  const real = new Kafka({ brokers: ["127.0.0.1:1"], logLevel: logLevel.NOTHING });
  const producer = (config?: ProducerConfig) => ({
    ...real.producer(config),
    send: async ({ topic, messages }: ProducerRecord) => {
      const choose = config?.createPartitioner?.();
      for (let attempt = 0; attempt < 2; attempt++)
        asked.push(messages.map((message) => choose?.({ topic, partitionMetadata, message }) ?? -1));
      return [{ topicName: topic, partition: 0, errorCode: 0 }];
    },
  });
  return { asked, producer };
};

test("a partition that moves to another broker amid a send: the send is not taken for done", async () => {
  const forgetful = createForgetful();
  const producer = createProducer(forgetful);
  // Without keys they are spread over both partitions.
  const messages = Array.from({ length: 4 }, () => ({ value: "a" }));
  await assert.rejects(
    producer.send({ topic: "t", messages }),
    /acknowledge 4 messages, got no answer for 2$/,
  );
  const [first, again] = forgetful.asked;
  assert.deepEqual(again, first);
  await producer.send({ topic: "t", messages: [{ partition: 0, value: "a" }] });
});
