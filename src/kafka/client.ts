import { setTimeout } from "node:timers/promises";
import { type IHeaders, Kafka, type logCreator, logLevel, Partitioners, type Producer } from "kafkajs";
import RequestQueue from "kafkajs/src/network/requestQueue/index.js";
import type { Log } from "../support/log.ts";
import type { Config } from "../worker/settings.ts";

/**
 * Works around kafkajs 2.2.4 (issues 1751, 1704): a connection with nothing to send wakes up a thousand times a
 * second, 6 to 8 % of a core for an idle consumer. Can go with a release that holds pull request 1572 or 1768.
 */
const sleepWhenIdle = () => {
  RequestQueue.prototype.scheduleCheckPendingRequests = function (this: RequestQueue) {
    if (this.pending.length > 0 || this.throttledUntil > Date.now()) scheduleCheck.call(this);
  };
};
const scheduleCheck = RequestQueue.prototype.scheduleCheckPendingRequests;

/** kafkajs's log entries as lines of `log`, warnings and errors only. */
const createLogCreator =
  (log: Log): logCreator =>
  () =>
  ({ level, log: { message, error } }) => {
    const line = `kafka: ${message}${typeof error === "string" ? ` (${error})` : ""}`;
    if (level === logLevel.ERROR) log.error(line);
    else log.warn(line);
  };

/** A Kafka client for the brokers in `config`. Nothing connects yet. */
export const createKafka = (
  { KAFKA_BROKERS }: Pick<Config, "KAFKA_BROKERS">,
  {
    clientId,
    log,
    level = logLevel.WARN,
    retries = 5,
  }: { clientId: string; log: Log; level?: logLevel; retries?: number },
): Kafka => {
  sleepWhenIdle();
  return new Kafka({
    clientId,
    brokers: [...KAFKA_BROKERS],
    // The default of 1 s is short for a broker that is just coming up.
    connectionTimeout: 5000,
    retry: { retries },
    logLevel: level,
    logCreator: createLogCreator(log),
  });
};

/**
 * A producer whose acknowledged messages are on the log: all in-sync replicas, and not idempotent, since kafkajs
 * 2.2.4's idempotent producer drops acknowledged messages after a rejected send. The price is a message sent twice
 * when only the acknowledgement was lost.
 */
export const createProducer = (kafka: Kafka): Producer =>
  kafka.producer({
    idempotent: false,
    createPartitioner: Partitioners.DefaultPartitioner,
    retry: { initialRetryTime: 200, maxRetryTime: 5000, retries: 10 },
  });

/**
 * The headers of a message that was read, such that they can be written. Works around kafkajs 2.2.4, whose reader
 * gives null for a header without a value, which its writer throws at, and for one that is named like a member of
 * `Object.prototype` puts that member before its values. Headers without a value become empty ones.
 */
export const writableHeaders = (headers: IHeaders | undefined): IHeaders =>
  Object.fromEntries(
    Object.entries(headers ?? {}).map(([name, value]) => {
      if (!Array.isArray(value)) return [name, value ?? ""];
      const own = value.map((one) => one ?? "");
      return [name, own.filter((one) => typeof one === "string" || Buffer.isBuffer(one))];
    }),
  );

/** Settings in which the topics are named. */
type TopicConfig = Pick<
  Config,
  "TOPIC_TO_DELETE" | "TOPIC_DELETED" | "TOPIC_DEAD_LETTER" | "TOPIC_PARTITIONS"
>;

/** A dead letter is its original and some headers: whatever fits a topic of Kafka's default 1 MiB, fits here. */
const DEAD_LETTER_TOPIC_CONFIG = [
  { name: "max.message.bytes", value: String(2 * 1024 * 1024) },
  { name: "retention.ms", value: "-1" },
];

/**
 * Makes those of the three topics that are missing; the dead-letter topic keeps its messages for ever. Topics that
 * exist stay as they are.
 */
export const ensureTopics = async (kafka: Kafka, config: TopicConfig): Promise<void> => {
  const topics = [
    { topic: config.TOPIC_TO_DELETE },
    { topic: config.TOPIC_DELETED },
    { topic: config.TOPIC_DEAD_LETTER, configEntries: DEAD_LETTER_TOPIC_CONFIG },
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
      topics: missing.map((topic) => ({ ...topic, numPartitions: config.TOPIC_PARTITIONS })),
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
