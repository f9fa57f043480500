import { randomUUID } from "node:crypto";
import type { Kafka, KafkaMessage } from "kafkajs";

/** Reads a topic from its beginning into `messages`, as they come, until disposed of. */
export const watchTopic = async (
  kafka: Kafka,
  topic: string,
): Promise<{ readonly messages: readonly KafkaMessage[] } & AsyncDisposable> => {
  const messages: KafkaMessage[] = [];
  const consumer = kafka.consumer({
    groupId: `watch-${randomUUID()}`,
    maxWaitTimeInMs: 500,
    allowAutoTopicCreation: false,
  });
  try {
    await consumer.connect();
    await consumer.subscribe({ topic, fromBeginning: true });
  } catch (error) {
    await consumer.disconnect();
    throw error;
  }
  // A reader that lost its connection begins anew: what it has seen before does not count again.
  const seen = new Set<string>();
  await consumer.run({
    autoCommit: false,
    eachMessage: async ({ partition, message }) => {
      const position = `${partition}/${message.offset}`;
      if (!seen.has(position)) messages.push(message);
      seen.add(position);
    },
  });
  return { messages, [Symbol.asyncDispose]: () => consumer.disconnect() };
};
