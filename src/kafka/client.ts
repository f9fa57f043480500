import kafkajs, { Kafka, type logCreator, logLevel, Partitioners, type Producer } from "kafkajs";
import { OutageError } from "../support/errors.ts";
import type { Log } from "../support/log.ts";
import { connectTo, kafkajsAddress } from "./addresses.ts";
import { registerCodecs } from "./compression.ts";
import { sleepWhenIdle } from "./idle-connections.ts";

/** kafkajs's log entries as lines of `log`, warnings and errors only. */
const createLogCreator =
  (log: Log): logCreator =>
  () =>
  ({ level, log: { message, error } }) => {
    const line = `kafka: ${message}${typeof error === "string" ? ` (${error})` : ""}`;
    if (level === logLevel.ERROR) log.error(line);
    else log.warn(line);
  };

/** Topics and partitions made by others are noticed within this time, in milliseconds; kafkajs's default is 5 minutes. */
export const METADATA_MAX_AGE_MS = 10_000;

/** A Kafka client for the brokers in `settings`. Nothing connects yet. */
export const createKafka = (
  { KAFKA_BROKERS }: { readonly KAFKA_BROKERS: readonly string[] },
  {
    clientId,
    log,
    level = logLevel.WARN,
    retries = 5,
  }: { clientId: string; log: Log; level?: logLevel; retries?: number },
): Kafka => {
  sleepWhenIdle();
  registerCodecs();
  return new Kafka({
    clientId,
    brokers: KAFKA_BROKERS.map(kafkajsAddress),
    socketFactory: connectTo,
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
    // A topic that is missing must not come into being with the broker's default of partitions.
    allowAutoTopicCreation: false,
    metadataMaxAge: METADATA_MAX_AGE_MS,
    createPartitioner: Partitioners.DefaultPartitioner,
    retry: { initialRetryTime: 200, maxRetryTime: 5000, retries: 10 },
  });

/**
 * Whether a kafkajs error says that the broker is away, rather than that it refuses: also where the client has given
 * up its own retries, which it marks as not retriable.
 */
const isOutage = (error: unknown): boolean => {
  if (!(error instanceof kafkajs.KafkaJSError)) return false;
  const { cause } = error;
  return error.retriable || (cause instanceof Error && cause !== error && isOutage(cause));
};

/** Kafka's errors 10 and 18: the one is about a message, the other about the batch it came in. */
const TOO_LARGE = new Set(["MESSAGE_TOO_LARGE", "RECORD_LIST_TOO_LARGE"]);

/**
 * What `send` resolves with.
 *
 * @throws {OutageError} when the broker is away
 * @throws what kafkajs throws, when the broker refuses
 */
export const orOutage = async <T>(send: Promise<T>): Promise<T> => {
  try {
    return await send;
  } catch (error) {
    throw isOutage(error) ? new OutageError("the broker cannot be reached", { cause: error }) : error;
  }
};

/** Whether the broker refused a message because it is larger than its topic takes. */
export const isTooLarge = (error: unknown): boolean => {
  if (!(error instanceof kafkajs.KafkaJSError)) return false;
  const { cause } = error;
  if ("type" in error && typeof error.type === "string" && TOO_LARGE.has(error.type)) return true;
  return cause instanceof Error && cause !== error && isTooLarge(cause);
};
