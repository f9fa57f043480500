import { setTimeout } from "node:timers/promises";
import kafkajs, { type Admin, type ITopicConfig, type Kafka } from "kafkajs";
import { type Log, silentLog } from "../support/log.ts";
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

/** Runs `work` with an admin client that is connected meanwhile. */
export const withAdmin = async <T>(kafka: Kafka, work: (admin: Admin) => Promise<T>): Promise<T> => {
  const admin = kafka.admin();
  await admin.connect();
  try {
    return await work(admin);
  } finally {
    await admin.disconnect();
  }
};

/**
 * Makes those of `topics` that are missing, and waits until they are there.
 *
 * @returns the names of those that were missing
 */
const createMissing = async (admin: Admin, topics: readonly ITopicConfig[]): Promise<string[]> => {
  const findMissing = async () => {
    const existing = new Set(await admin.listTopics());
    return topics.filter(({ topic }) => !existing.has(topic));
  };
  const missing = await findMissing();
  if (missing.length === 0) return [];
  await admin.createTopics({ topics: missing, waitForLeaders: false });
  // Not left to `waitForLeaders`: kafkajs 2.2.4 fails where Kafka does not yet know what it has just made.
  for (let tries = 1; (await findMissing()).length > 0; tries++) {
    if (tries === 100)
      throw new Error("expected the topics that were made to be there within 10 s, got fewer");
    await setTimeout(100);
  }
  return missing.map(({ topic }) => topic);
};

/** Says in one line which of the topics that were there before have fewer partitions than is wanted. */
const nameTooSmall = async (admin: Admin, topics: string[], wanted: number, log: Log): Promise<void> => {
  if (topics.length === 0) return;
  const metadata = await admin.fetchTopicMetadata({ topics });
  const fewer = metadata.topics
    .filter(({ partitions }) => partitions.length < wanted)
    .map(({ name, partitions }) => `${name} has ${partitions.length}`);
  if (fewer.length > 0) {
    log.warn(`expected topics with ${wanted} partitions or more (TOPIC_PARTITIONS), but ${fewer.join(", ")}`);
  }
};

/**
 * Makes those of a job's three topics that are missing; the dead-letter topic keeps its messages for ever. Topics that
 * exist stay as they are; `log` is told of those with fewer than TOPIC_PARTITIONS.
 *
 * @throws {AccessError} when the broker refuses this client, or its user may neither see a topic nor make it
 */
export const ensureTopics = (kafka: Kafka, names: TopicNames, log: Log = silentLog): Promise<void> => {
  const numPartitions = names.TOPIC_PARTITIONS;
  const topics = [
    { topic: names.TOPIC_SOURCE, numPartitions },
    { topic: names.TOPIC_COMPLETIONS, numPartitions },
    { topic: names.TOPIC_DEAD_LETTERS, numPartitions, configEntries: DEAD_LETTER_TOPIC_CONFIG },
  ];
  const all = topics.map(({ topic }) => topic);
  const done = withAdmin(kafka, async (admin) => {
    const made = new Set(await createMissing(admin, topics));
    const found = all.filter((topic) => !made.has(topic));
    await nameTooSmall(admin, found, numPartitions, log);
  });
  const topic = `Describe on topics ${all.join(", ")}, and Create on those that are missing`;
  return orAccessError(done, { topic });
};

/** Makes one topic if it is missing. */
export const ensureTopic = (kafka: Kafka, topic: ITopicConfig): Promise<void> =>
  withAdmin(kafka, async (admin) => {
    await createMissing(admin, [topic]);
  });

/** How long a topic keeps a message at most, in milliseconds: `Infinity` where no time is set, or told. */
export const readRetention = async (kafka: Kafka, topic: string): Promise<number> => {
  const configNames = ["cleanup.policy", "retention.ms", "segment.ms"];
  const resources = [{ type: kafkajs.ConfigResourceTypes.TOPIC, name: topic, configNames }];
  const asked = withAdmin(kafka, (admin) => admin.describeConfigs({ resources, includeSynonyms: false }));
  try {
    const entries = (await asked).resources[0]?.configEntries ?? [];
    return retentionOf(Object.fromEntries(entries.map((one) => [one.configName, one.configValue])));
  } catch (error) {
    if (error instanceof kafkajs.KafkaJSServerDoesNotSupportApiKey) return Number.POSITIVE_INFINITY;
    throw error;
  }
};

/**
 * The same, by the topic's settings. A broker deletes whole segments, by their newest message: the oldest one of a
 * segment stays for as long as that was written to, and then for as long as the newest may.
 */
export const retentionOf = (config: Readonly<Record<string, string | undefined>>): number => {
  const [retention, segment] = [Number(config["retention.ms"]), Number(config["segment.ms"])];
  const isDeleted = config["cleanup.policy"]?.split(",").includes("delete") ?? false;
  return isDeleted && retention >= 0 && segment >= 0 ? retention + segment : Number.POSITIVE_INFINITY;
};
