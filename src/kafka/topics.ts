import { setTimeout } from "node:timers/promises";
import type { Kafka } from "kafkajs";
import { orAccessError } from "./access.ts";

/** The topics of a job. */
export interface TopicNames {
  readonly TOPIC_SOURCE: string;
  readonly TOPIC_COMPLETIONS: string;
  readonly TOPIC_DEAD_LETTERS: string;
  readonly TOPIC_PARTITIONS: number;
}

/** A dead letter is its original and some headers: whatever fits a topic of Kafka's default 1 MiB, fits here. */
const DEAD_LETTER_TOPIC_CONFIG = [
  { name: "max.message.bytes", value: String(2 * 1024 * 1024) },
  { name: "retention.ms", value: "-1" },
];

/**
 * Makes those of a job's three topics that are missing; the dead-letter topic keeps its messages for ever. Topics that
 * exist stay as they are.
 *
 * @throws {AccessError} when the broker refuses this client, or its user may neither see a topic nor make it
 */
export const ensureTopics = (kafka: Kafka, names: TopicNames): Promise<void> => {
  const topics = [names.TOPIC_SOURCE, names.TOPIC_COMPLETIONS, names.TOPIC_DEAD_LETTERS].join(", ");
  return orAccessError(makeMissing(kafka, names), {
    topic: `Describe on topics ${topics}, and Create on those that are missing`,
  });
};

const makeMissing = async (kafka: Kafka, names: TopicNames): Promise<void> => {
  const topics = [
    { topic: names.TOPIC_SOURCE },
    { topic: names.TOPIC_COMPLETIONS },
    { topic: names.TOPIC_DEAD_LETTERS, configEntries: DEAD_LETTER_TOPIC_CONFIG },
  ];
  const admin = kafka.admin();
  await admin.connect();
  try {
    const findMissing = async () => {
      const existing = new Set(await admin.listTopics());
      return topics.filter(({ topic }) => !existing.has(topic));
    };
    const missing = await findMissing();
    if (missing.length === 0) return;
    await admin.createTopics({
      topics: missing.map((topic) => ({ ...topic, numPartitions: names.TOPIC_PARTITIONS })),
      waitForLeaders: false,
    });
    // Not left to `waitForLeaders`: kafkajs 2.2.4 fails where Kafka does not yet know what it has just made.
    for (let tries = 1; (await findMissing()).length > 0; tries++) {
      if (tries === 100)
        throw new Error("expected the topics that were made to be there within 10 s, got fewer");
      await setTimeout(100);
    }
  } finally {
    await admin.disconnect();
  }
};
