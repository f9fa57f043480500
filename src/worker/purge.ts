import { findFinished } from "../resonate/transports/postgres-purge.ts";
import { isPostgres, placeOf } from "../support/postgres.ts";
import { SettingsError } from "../support/settings.ts";
import { SERVICE_TAG } from "./service.ts";

const UNITS = { s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 } as const;

/** The time that text such as 30d, 12h, 5m or 10s stands for, in milliseconds; `undefined` where it is none. */
export const parseAge = (text: string): number | undefined => {
  const [, count = "", unit = ""] = /^(\d{1,6})([smhd])$/.exec(text) ?? [];
  return unit === "s" || unit === "m" || unit === "h" || unit === "d"
    ? Number(count) * UNITS[unit]
    : undefined;
};

/** The same time in the largest unit of which it is a whole number. */
const showAge = (ms: number): string => {
  const [unit, length] = Object.entries(UNITS).findLast(([, own]) => ms % own === 0) ?? ["s", UNITS.s];
  return `${Math.ceil(ms / length)}${unit}`;
};

export interface Bound {
  /** At least so old a finished execution must be, in milliseconds. */
  readonly olderThanMs: number;
  readonly topic: string;
  /** How long the topic keeps a message, in milliseconds. */
  readonly retentionMs: number;
  /** The consumer group's offsets are never set back. */
  readonly offsetsStay: boolean;
}

/**
 * Makes sure that no execution is deleted whose message may be delivered once more, which would run it again. A
 * message is not younger than the end of its execution, so it is gone from the topic when that end is as long ago as
 * the topic keeps messages.
 *
 * @throws {SettingsError}
 */
export const assertBound = ({ olderThanMs, topic, retentionMs, offsetsStay }: Bound): void => {
  if (retentionMs === Number.POSITIVE_INFINITY) {
    if (offsetsStay) return;
    throw new SettingsError([
      `--older-than: ${topic} keeps its messages without a limit of time (retention.ms, cleanup.policy), so any may be delivered again; add --offsets-stay if the consumer group's offsets are never set back and never expire`,
    ]);
  }
  if (olderThanMs >= retentionMs) return;
  throw new SettingsError([
    `--older-than: expected ${showAge(retentionMs)} or more, since ${topic} keeps messages for so long (retention.ms and segment.ms) and may deliver them again, got ${showAge(olderThanMs)}`,
  ]);
};

/** Makes sure that executions can be deleted where they are. @throws {SettingsError} */
export const assertPurgeable = (url: string): void => {
  if (isPostgres(url)) return;
  throw new SettingsError([
    `RESONATE_URL: expected a postgres:// URL, since a Resonate server deletes no executions, got ${placeOf(url)}`,
  ]);
};

export interface PurgeOptions {
  /** RESONATE_URL, of Postgres. */
  readonly url: string;
  /** The name under which the service's executions are registered. */
  readonly service: string;
  /** Deletes what had ended at this time, in milliseconds since 1970. */
  readonly before: number;
  /** Only counts. */
  readonly dryRun: boolean;
  readonly signal: AbortSignal;
}

/**
 * Deletes finished executions, with the promises of their steps.
 *
 * @returns how many promises there were
 * @throws {SettingsError} when other services have some in the same database
 */
export const purge = async ({ url, service, before, dryRun, signal }: PurgeOptions): Promise<number> => {
  await using finished = findFinished(url, before);
  const others = (await finished.valuesOf(SERVICE_TAG)).filter((name) => name !== service);
  if (others.length > 0) {
    throw new SettingsError([
      `RESONATE_URL: expected executions of ${service} alone in ${placeOf(url)}, got some of ${others.join(", ")}, whose messages may be kept for longer: give each service a database of its own`,
    ]);
  }
  // Not before that is done is the connection closed.
  return await (dryRun ? finished.count() : finished.delete(signal));
};
