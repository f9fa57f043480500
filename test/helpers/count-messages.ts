import type { Kafka } from "kafkajs";
import { withAdmin } from "../../src/kafka/topics.ts";

/** How many messages a topic has ever had: the ends of its partitions, summed up. */
export const countMessages = (kafka: Kafka, topic: string): Promise<number> =>
  withAdmin(kafka, async (admin) => {
    const offsets = await admin.fetchTopicOffsets(topic);
    return offsets.reduce((sum, { high }) => sum + Number(high), 0);
  });
