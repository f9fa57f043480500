import type { KafkaConfig, Logger } from "kafkajs";
import Cluster, { type Broker } from "kafkajs/src/cluster/index.js";
import createSocketFactory from "kafkajs/src/network/socketFactory.js";
import Decoder from "kafkajs/src/protocol/decoder.js";
import Encoder from "kafkajs/src/protocol/encoder.js";
import { AccessError } from "../support/access-error.ts";
import { findAccessError } from "./access.ts";

/** Codes of org.apache.kafka.common.acl.AclOperation. */
const OPERATIONS = { Read: 3, Write: 4 } as const;

/** A right on a topic. */
interface TopicRight {
  readonly operation: keyof typeof OPERATIONS;
  readonly topic: string;
}

/** What a user needs. */
export interface Needed {
  readonly topics: readonly TopicRight[];
  /** Name of a consumer group that it may see; whether it may read as one, joining it tells. */
  readonly group: string;
}

const METADATA = 3;
/** The first version that gives rights; later ones are written in another way. */
const METADATA_VERSION = 8;
/** What a broker says that does not tell rights. */
const UNKNOWN = -(2 ** 31);
const FIND_COORDINATOR = 10;
const TOPIC_AUTHORIZATION_FAILED = 29;
const GROUP_AUTHORIZATION_FAILED = 30;

/** The topics' rights as bits, by topic. */
const readMetadata = (data: Buffer): Map<string, number> => {
  const decoder = new Decoder(data);
  const readInt = () => decoder.readInt32();
  const readInts = () => decoder.readArray((d) => d.readInt32());
  decoder.readInt32(); // throttle time
  decoder.readArray((d) => [d.readInt32(), d.readString(), d.readInt32(), d.readString()]); // brokers
  decoder.readString(); // cluster
  decoder.readInt32(); // controller
  const topics = decoder.readArray((d): [string, number] => {
    const error = d.readInt16();
    const topic = d.readString() ?? "";
    d.readBoolean(); // is internal
    // Partitions: error, number, leader, leader's epoch, and three lists of replicas.
    d.readArray(() => [d.readInt16(), readInt(), readInt(), readInt(), readInts(), readInts(), readInts()]);
    const rights = d.readInt32();
    return [topic, error === TOPIC_AUTHORIZATION_FAILED ? 0 : rights];
  });
  return new Map(topics);
};

/** Sends a request that kafkajs 2.2.4 has no call for, over one of its connections. */
const ask = <T>(
  { connectionPool }: Broker,
  [apiName, apiKey, apiVersion]: readonly [string, number, number],
  body: Encoder,
  read: (data: Buffer) => T,
): Promise<T> =>
  connectionPool.send({
    request: { apiKey, apiVersion, apiName, encode: async () => body },
    response: { decode: async (data) => read(data), parse: async (answer) => answer },
  });

const findMissing = async (broker: Broker, { topics, group }: Needed): Promise<string[]> => {
  const missing: string[] = [];
  if ((broker.versions[METADATA]?.maxVersion ?? 0) >= METADATA_VERSION) {
    const names = [...new Set(topics.map(({ topic }) => topic))];
    // Whether to make missing topics, to tell rights on the cluster, and on the topics.
    const body = new Encoder().writeArray(names).writeBoolean(false).writeBoolean(false).writeBoolean(true);
    const rights = await ask(broker, ["Metadata", METADATA, METADATA_VERSION], body, readMetadata);
    for (const { operation, topic } of topics) {
      const bits = rights.get(topic) ?? UNKNOWN;
      if (bits !== UNKNOWN && (bits & (1 << OPERATIONS[operation])) === 0)
        missing.push(`${operation} on topic ${topic}`);
    }
  }
  // kafkajs asks this, too, but keeps trying whatever the answer is.
  const body = new Encoder().writeString(group);
  const error = await ask(broker, ["FindCoordinator", FIND_COORDINATOR, 0], body, (data) =>
    new Decoder(data).readInt16(),
  );
  if (error === GROUP_AUTHORIZATION_FAILED) missing.push(`Read on group ${group}`);
  return missing;
};

/** How a broker turns away who speaks to it otherwise than its listener expects: without a word. */
const CUT_OFF =
  "the broker closes the connection, as it does when KAFKA_TLS_ENABLED or KAFKA_SASL_MECHANISM is not what it expects";

const wasCutOff = (error: unknown): boolean =>
  error instanceof Error &&
  (error.name === "KafkaJSConnectionClosedError" ||
    ("code" in error && error.code === "ECONNRESET") ||
    (error.cause !== error && wasCutOff(error.cause)));

/**
 * Asks the broker for this user's rights and compares. Brokers that do not tell them pass.
 *
 * @throws {AccessError} when the broker refuses this client, or rights are missing: names all of them
 * @throws what kafkajs throws, when the broker cannot be reached
 */
export const checkRights = async (config: KafkaConfig, logger: Logger, needed: Needed): Promise<void> => {
  const cluster = new Cluster({ socketFactory: createSocketFactory(), ...config, logger });
  try {
    await cluster.connect();
    const missing = await findMissing(cluster.brokerPool.seedBroker, needed);
    if (missing.length === 0) return;
    throw new AccessError(`the broker refuses this user: expected the right ${missing.join(", ")}, got none`);
  } catch (error) {
    throw findAccessError(error) ?? (wasCutOff(error) ? new Error(CUT_OFF, { cause: error }) : error);
  } finally {
    await cluster.disconnect();
  }
};
