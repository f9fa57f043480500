import kafkajs, { Kafka, type KafkaConfig, logLevel, Partitioners, type Producer } from "kafkajs";
import { AccessError } from "../support/access-error.ts";
import { OutageError } from "../support/errors.ts";
import type { Log } from "../support/log.ts";
import { orAccessError } from "./access.ts";
import { connectTo, kafkajsAddress } from "./addresses.ts";
import { type ClientLog, createClientLog } from "./client-log.ts";
import { registerCodecs } from "./compression.ts";
import { sleepWhenIdle } from "./idle-connections.ts";
import { type GroupMember, leaveGroup } from "./leave-group.ts";
import { checkRights, type Needed } from "./rights.ts";
import { createSecurity } from "./security.ts";
import type { KafkaSecuritySettings } from "./security-settings.ts";

/** Topics and partitions made by others are noticed within this time, in milliseconds; kafkajs's default is 5 minutes. */
export const METADATA_MAX_AGE_MS = 5000;

/** Where the brokers are, and how to speak to them; plainly where nothing is said of security. */
export type BrokerSettings = { readonly KAFKA_BROKERS: readonly string[] } & (
  | KafkaSecuritySettings
  | { readonly KAFKA_TLS_ENABLED?: never }
);

interface ClientOptions {
  readonly clientId: string;
  readonly log: Log;
  readonly level?: logLevel;
  readonly retries?: number;
}

const toConfig = (
  settings: BrokerSettings,
  { clientId, level = logLevel.WARN, retries = 5 }: ClientOptions,
  { logCreator }: ClientLog,
): KafkaConfig => {
  sleepWhenIdle();
  registerCodecs();
  return {
    clientId,
    brokers: settings.KAFKA_BROKERS.map(kafkajsAddress),
    socketFactory: connectTo,
    // The default of 1 s is short for a broker that is just coming up.
    connectionTimeout: 5000,
    retry: { retries },
    logLevel: level,
    logCreator,
    ...(settings.KAFKA_TLS_ENABLED === undefined ? {} : createSecurity(settings)),
  };
};

/**
 * A Kafka client for the brokers in `settings`. Nothing connects yet.
 *
 * @throws {AccessError} when a file with a certificate or key cannot be used
 */
export const createKafka = (settings: BrokerSettings, options: ClientOptions): Kafka => {
  const clientLog = createClientLog(options.log);
  return clientLog.listen(new Kafka(toConfig(settings, options, clientLog)));
};

/** What the inner parts of kafkajs take that its client makes for itself. */
const toInner = (settings: BrokerSettings, options: ClientOptions) => {
  const config = toConfig(settings, options, createClientLog(options.log));
  return { config, logger: new Kafka(config).logger() };
};

/**
 * Asks the broker whether this user has rights on topics and may see a group. Brokers that do not tell pass.
 *
 * @throws {AccessError} when some are missing: names all of them
 */
export const assertRights = (
  settings: BrokerSettings,
  options: ClientOptions,
  needed: Needed,
): Promise<void> => {
  const { config, logger } = toInner(settings, options);
  return checkRights(config, logger, needed);
};

/** Leaves a consumer group in the name of a member that is dead: see leave-group.ts. */
export const leaveGroupFor = (
  settings: BrokerSettings,
  options: ClientOptions,
  member: GroupMember,
): Promise<void> => {
  const { config, logger } = toInner(settings, options);
  return leaveGroup(config, logger, member);
};

/**
 * A producer whose acknowledged messages are on the log: all in-sync replicas, and not idempotent, since kafkajs
 * 2.2.4's idempotent producer drops acknowledged messages after a rejected send. The price is a message sent twice
 * when only the acknowledgement was lost.
 */
export const createProducer = (kafka: Kafka): Producer => {
  const producer = kafka.producer({
    idempotent: false,
    // A topic that is missing must not come into being with the broker's default of partitions.
    allowAutoTopicCreation: false,
    metadataMaxAge: METADATA_MAX_AGE_MS,
    createPartitioner: Partitioners.DefaultPartitioner,
    retry: { initialRetryTime: 200, maxRetryTime: 5000, retries: 10 },
  });
  return {
    ...producer,
    /** @throws {AccessError} when the broker refuses this client */
    send: (record) => orAccessError(producer.send(record), { topic: `Write on topic ${record.topic}` }),
  };
};

/**
 * Whether an error says that the broker is away, or that it does not let this client in, rather than that it does not
 * take the message: also where kafkajs has given up its own retries, which it marks as not retriable.
 */
const isOutage = (error: unknown): boolean => {
  if (error instanceof AccessError) return true;
  if (!(error instanceof kafkajs.KafkaJSError)) return false;
  const { cause } = error;
  return error.retriable || (cause instanceof Error && cause !== error && isOutage(cause));
};

/** Kafka's errors 10 and 18: the one is about a message, the other about the batch it came in. */
const TOO_LARGE = new Set(["MESSAGE_TOO_LARGE", "RECORD_LIST_TOO_LARGE"]);

/**
 * What `send` resolves with.
 *
 * @throws {OutageError} when the broker is away, or refuses this client: somebody may let it in again
 * @throws what kafkajs throws, when the broker refuses the message
 */
export const orOutage = async <T>(send: Promise<T>): Promise<T> => {
  try {
    return await send;
  } catch (error) {
    if (!isOutage(error)) throw error;
    const message = error instanceof AccessError ? error.message : "the broker cannot be reached";
    throw new OutageError(message, { cause: error });
  }
};

/** Whether the broker refused a message because it is larger than its topic takes. */
export const isTooLarge = (error: unknown): boolean => {
  if (!(error instanceof kafkajs.KafkaJSError)) return false;
  const { cause } = error;
  if ("type" in error && typeof error.type === "string" && TOO_LARGE.has(error.type)) return true;
  return cause instanceof Error && cause !== error && isTooLarge(cause);
};
