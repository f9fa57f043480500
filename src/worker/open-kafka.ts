import { type Kafka, logLevel } from "kafkajs";
import { createKafka } from "../kafka/client.ts";
import { ensureTopics } from "../kafka/topics.ts";
import type { Log } from "../support/log.ts";
import { findMisspelt } from "../support/misspelt.ts";
import type { Env, Schema } from "../support/settings.ts";
import { untilReachable } from "./reach.ts";
import { parseJobSettings, schemaOf, type WithSettings } from "./settings.ts";

/** Says which names in the environment were most likely meant to be settings of a job. */
export const warnOfMisspelt = (job: WithSettings<Schema>, env: Env, log: Log): void => {
  for (const [misspelt, meant] of findMisspelt(Object.keys(schemaOf(job)), env)) {
    log.warn(`${misspelt} is not a setting: ${meant} was most likely meant`);
  }
};

export interface OpenKafkaOptions {
  /** Settings by name, as text. */
  readonly env: Env;
  readonly clientId: string;
  readonly log: Log;
  /** Ends the wait for a broker that cannot be reached. */
  readonly signal: AbortSignal;
  /** Leaves topics that are missing as they are. */
  readonly readOnly?: boolean;
}

/**
 * Opens what a command beside the worker needs: a job's settings, and a client of a broker that can be reached. Waits
 * for the broker, and says so, as a worker does.
 *
 * @throws the reason of `signal`; {SettingsError} when a setting is not valid
 */
export const openKafka = async (
  job: WithSettings<Schema>,
  { env, clientId, log, signal, readOnly = false }: OpenKafkaOptions,
): Promise<{ settings: ReturnType<typeof parseJobSettings<Schema>>; kafka: Kafka }> => {
  const settings = parseJobSettings(job, env);
  warnOfMisspelt(job, env, log);
  const broker = { system: "Kafka broker", address: settings.KAFKA_BROKERS.join(","), log, signal };
  await untilReachable(broker, async () => {
    // The tries are ours, and each failure is to be shown.
    const once = createKafka(settings, { clientId, log, level: logLevel.NOTHING, retries: 1 });
    if (!readOnly) return ensureTopics(once, settings, log);
    const admin = once.admin();
    await admin.connect().finally(() => admin.disconnect());
  });
  return { settings, kafka: createKafka(settings, { clientId, log }) };
};
