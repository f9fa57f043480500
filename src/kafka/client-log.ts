import { type Kafka, type LogEntry, type logCreator, logLevel, type RequestEvent } from "kafkajs";
import type { Log } from "../support/log.ts";

/** An outage that is over sooner is not worth a line, in milliseconds: the client connects again by itself. */
const SHORT_MS = 1000;

/**
 * What kafkajs says of its ordinary ways: rebalances, new metadata, and each try of what it tries again. What it cannot
 * mend it throws, and whoever called it tells.
 */
const CHATTER =
  /^Response |^Failed to connect to |^Failed to send messages|^Restarting the consumer|re-joining|resync group|refreshing metadata|rebalanc|not aware of this member|generation id is not valid/;

/** What it says of a connection that is lost or not to be had. */
const CONNECTION_TROUBLE = /^Connection (?:error|timeout)/;

/** What it says where a topic is gone, even one that is made again by now. It then tries on by itself. */
const TOPIC_GONE = /^Response (?<api>\w+).*does not host this topic-partition/;

/** Called when a topic is not there, with the name of the request that found so: Fetch, Produce or another. */
export type OnTopicGone = (api: string) => void;

interface Trouble {
  readonly since: number;
  isTold: boolean;
}

/** What kafkajs has to say, as lines for people. */
export interface ClientLog {
  readonly logCreator: logCreator;
  /** Listens for answers to what this client asks: they are how the end of an outage shows. */
  listen(kafka: Kafka): Kafka;
}

/** One line when a broker is away and one when it is back; of the rest only what is trouble. */
export const createClientLog = (
  log: Log,
  now: () => number = Date.now,
  onTopicGone: OnTopicGone = () => {},
): ClientLog => {
  /** By address: a cluster has few. */
  const troubles = new Map<string, Trouble>();

  const onTrouble = (broker: string, message: string) => {
    const trouble = troubles.get(broker) ?? { since: now(), isTold: false };
    troubles.set(broker, trouble);
    if (trouble.isTold || now() - trouble.since < SHORT_MS) return;
    trouble.isTold = true;
    log.warn({ broker }, `Kafka broker at ${broker} cannot be reached, trying on: ${message}`);
  };
  const onAnswer = ({ payload: { broker } }: RequestEvent) => {
    const trouble = troubles.get(broker);
    if (trouble === undefined) return;
    troubles.delete(broker);
    if (!trouble.isTold) return;
    log.info(
      { broker },
      `Kafka broker at ${broker} is back again, after ${Math.round((now() - trouble.since) / 1000)} s`,
    );
  };
  const write = ({ level, log: { message, timestamp: _, ...kafka } }: LogEntry) => {
    const { error, broker } = kafka;
    const text = `${message}${typeof error === "string" ? ` (${error})` : ""}`;
    const api = TOPIC_GONE.exec(text)?.groups?.api;
    if (api !== undefined) onTopicGone(api);
    if (CONNECTION_TROUBLE.test(message) && typeof broker === "string") return onTrouble(broker, message);
    // While a broker is away, the rest follows from it.
    const isChatter = CHATTER.test(text) || troubles.size > 0;
    log[isChatter ? "debug" : level === logLevel.ERROR ? "error" : "warn"]({ kafka }, `kafka: ${text}`);
  };

  return {
    logCreator: () => write,
    listen: (kafka) => {
      const { admin, consumer, producer } = kafka;
      kafka.admin = (config) => {
        const own = admin.call(kafka, config);
        own.on(own.events.REQUEST, onAnswer);
        return own;
      };
      kafka.consumer = (config) => {
        const own = consumer.call(kafka, config);
        own.on(own.events.REQUEST, onAnswer);
        return own;
      };
      kafka.producer = (config) => {
        const own = producer.call(kafka, config);
        own.on(own.events.REQUEST, onAnswer);
        return own;
      };
      return kafka;
    },
  };
};
