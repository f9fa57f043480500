import kafkajs, { Kafka, logLevel, Partitioners, type Producer } from "kafkajs";
import { OutageError } from "../support/errors.ts";
import type { Log } from "../support/log.ts";
import { createClientLog } from "./client-log.ts";
import { sleepWhenIdle } from "./idle-connections.ts";

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
  const clientLog = createClientLog(log);
  const kafka = new Kafka({
    clientId,
    brokers: [...KAFKA_BROKERS],
    // The default of 1 s is short for a broker that is just coming up.
    connectionTimeout: 5000,
    retry: { retries },
    logLevel: level,
    logCreator: clientLog.logCreator,
  });
  return clientLog.listen(kafka);
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
 * Whether a kafkajs error says that the broker is away, rather than that it refuses: also where the client has given
 * up its own retries, which it marks as not retriable.
 */
const isOutage = (error: unknown): boolean => {
  if (!(error instanceof kafkajs.KafkaJSError)) return false;
  const { cause } = error;
  return error.retriable || (cause instanceof Error && cause !== error && isOutage(cause));
};

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
