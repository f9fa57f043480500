import { Kafka, type KafkaConfig, logLevel } from "kafkajs";
import type { Log } from "../support/log.ts";
import { connectTo, kafkajsAddress } from "./addresses.ts";
import { type ClientLog, createClientLog, type OnTopicGone } from "./client-log.ts";
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
  readonly onTopicGone?: OnTopicGone;
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
  const clientLog = createClientLog(options.log, Date.now, options.onTopicGone);
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
