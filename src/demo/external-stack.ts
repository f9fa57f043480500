import { findMisspelt } from "../support/misspelt.ts";
import { type Env, SettingsError } from "../support/settings.ts";

/** Where broker and server are. */
export interface StackAddress {
  readonly kafkaBrokers: string;
  readonly resonateUrl: string;
}

/**
 * The broker and server that `env` names; `undefined`, for the embedded ones, where it names neither.
 *
 * @throws {SettingsError} when it names one of them only, or misspells one
 */
export const findExternalStack = (env: Env): StackAddress | undefined => {
  const { KAFKA_BROKERS, RESONATE_URL } = env;
  if (KAFKA_BROKERS && RESONATE_URL) return { kafkaBrokers: KAFKA_BROKERS, resonateUrl: RESONATE_URL };
  const names = ["KAFKA_BROKERS", "RESONATE_URL"];
  const given = [...names.filter((name) => env[name]), ...findMisspelt(names, env).keys()];
  if (given.length === 0) return;
  throw new SettingsError([`expected both ${names.join(" and ")}, or neither; got ${given.join(" and ")}`]);
};
