import type { Needed } from "../kafka/rights.ts";
import { checkKafkaSecurity, kafkaSecuritySchema } from "../kafka/security-settings.ts";
import { accessSchema, checkAccess } from "../resonate/access-settings.ts";
import { host, MAX_PORT, optionalPort } from "../support/addresses.ts";
import { logSchema } from "../support/log.ts";
import {
  type Env,
  integer,
  matching,
  parseSettings,
  type Schema,
  type Setting,
  type Settings,
} from "../support/settings.ts";
import type { JobDefaults } from "./job.ts";
import { jobSchema } from "./job-schema.ts";

const brokers: Setting<string[]> = {
  fallback: "localhost:9092",
  expected: "host:port, or several with commas between",
  about: "Brokers to start from: host:port, commas between.",
  parse: (text) => {
    const list = text.split(",").map((broker) => broker.trim());
    const valid = list.every((broker) => {
      const port = /^(?:[\w.-]+|\[[\da-f:]+\]):(\d{1,5})$/i.exec(broker)?.[1];
      return port !== undefined && Number(port) >= 1 && Number(port) <= MAX_PORT;
    });
    return valid ? list : undefined;
  },
};

/** A stop takes at most this longer than SHUTDOWN_GRACE_MS, in milliseconds. */
export const STOP_OVERRUN_MS = 1200;

const HOUR_MS = 3_600_000;
const milliseconds = (fallback: number, min: number, max: number, about: string) =>
  integer(fallback, { min, max, unit: "milliseconds", about });

/** Settings that are the same for every job, in the order of `.env.example`. */
export const commonSchema = {
  KAFKA_BROKERS: brokers,
  ...kafkaSecuritySchema,
  TOPIC_PARTITIONS: integer(4, {
    min: 1,
    max: 10_000,
    unit: "partitions",
    about: "Number of partitions for topics that this application creates.",
  }),
  ...accessSchema,
  LEASE_TTL_MS: milliseconds(
    3000,
    500,
    HOUR_MS,
    "Lease on a running execution, in milliseconds. When a worker dies, its running steps go on elsewhere once it expires.",
  ),
  WORKFLOW_TIMEOUT_MS: milliseconds(
    30 * 24 * HOUR_MS,
    1,
    3650 * 24 * HOUR_MS,
    "A message that is not done so many milliseconds after its execution started goes to the dead letters (30 days).",
  ),
  SESSION_TIMEOUT_MS: milliseconds(
    10_000,
    500,
    HOUR_MS,
    "A dead worker's partitions go to another after so many milliseconds. Brokers allow 6000 and more.",
  ),
  DISPATCH_CONCURRENCY: integer(32, {
    min: 1,
    max: 10_000,
    unit: "messages",
    about: "How many messages' executions may be starting at the same time.",
  }),
  MAX_IN_FLIGHT: integer(1000, {
    min: 1,
    max: 1_000_000,
    unit: "executions",
    about: "Executions that a worker may have started and not yet seen end. Further messages wait in Kafka.",
  }),
  STEP_MAX_TAKEOVERS: integer(5, {
    min: 2,
    max: 1_000_000,
    unit: "takeovers",
    about:
      "How often a step may be begun without an end before its message goes to the dead letters: it may kill its workers.",
  }),
  TAKE_MESSAGES: matching("yes", {
    expected: "yes or no",
    pattern: /^(yes|no)$/,
    about:
      "no: this worker only goes on with executions that were begun. For the old version of a changed workflow.",
  }),
  RETRY_DELAY_MS: milliseconds(
    1000,
    1,
    HOUR_MS,
    "Delay before the first retry of a step, in milliseconds. It doubles with each retry, up to 30 s.",
  ),
  SHUTDOWN_GRACE_MS: milliseconds(
    5000,
    0,
    HOUR_MS,
    "How long running steps may take to end after SIGTERM or SIGINT, in milliseconds.",
  ),
  HTTP_PORT: optionalPort(
    "Port of /metrics, /healthz and /readyz: one of its own for each worker of a machine. 0: a free one; empty: off.",
  ),
  HTTP_HOST: host("127.0.0.1", "Address at which they are served; 0.0.0.0 for every one of this machine."),
  EVENTS_FILE: matching("", {
    expected: "the path of a file",
    pattern: /^[^\0\r\n]*$/,
    about: "File to which workers append what happens, for 'npm run timeline'; empty for none.",
  }),
  ...logSchema,
};

/** Settings that had another name before jobs were folders. */
const RENAMED = {
  TOPIC_TO_DELETE: "TOPIC_SOURCE",
  TOPIC_DELETED: "TOPIC_COMPLETIONS",
  TOPIC_DEAD_LETTER: "TOPIC_DEAD_LETTERS",
  DELETE_CONCURRENCY: "STEP_CONCURRENCY",
  DELETE_MAX_ATTEMPTS: "STEP_MAX_ATTEMPTS",
};

/** What the worker itself reads: the settings that do not depend on the job. */
export type WorkerSettings = Settings<typeof commonSchema & ReturnType<typeof jobSchema>>;

/** A job as far as its settings go. */
export interface WithSettings<S extends Schema> {
  readonly defaults: JobDefaults;
  readonly settings: S;
}

/** The settings whose defaults are the job's: those that every job has, and its own. */
export const ownSchemaOf = <S extends Schema>({ defaults, settings }: WithSettings<S>) => ({
  ...jobSchema(defaults),
  ...settings,
});

/** All settings of a job: the common ones and those whose defaults are its own. */
export const schemaOf = <S extends Schema>(job: WithSettings<S>) => ({
  ...commonSchema,
  ...ownSchemaOf(job),
});

const checkTopics = ({ TOPIC_SOURCE, TOPIC_COMPLETIONS, TOPIC_DEAD_LETTERS }: Env): string[] => {
  const topics = [TOPIC_SOURCE, TOPIC_COMPLETIONS, TOPIC_DEAD_LETTERS];
  if (new Set(topics).size === topics.length) return [];
  return [
    `TOPIC_SOURCE, TOPIC_COMPLETIONS, TOPIC_DEAD_LETTERS: expected three topics, got ${topics.join(", ")}`,
  ];
};

/** The rights at the broker that a worker needs. */
export const neededRights = (settings: WorkerSettings): Needed => ({
  topics: [
    { operation: "Read", topic: settings.TOPIC_SOURCE },
    { operation: "Write", topic: settings.TOPIC_COMPLETIONS },
    { operation: "Write", topic: settings.TOPIC_DEAD_LETTERS },
  ],
  group: settings.KAFKA_GROUP_ID,
});

/**
 * Reads all settings of a job from `env`; a name that is not set takes its default.
 *
 * @throws {SettingsError} one line for each setting that is not valid: its name, what was expected, what was got
 */
export const parseJobSettings = <S extends Schema>(job: WithSettings<S>, env: Env) =>
  parseSettings(schemaOf(job), env, {
    renamed: RENAMED,
    check: (values) => [...checkTopics(values), ...checkKafkaSecurity(values), ...checkAccess(values)],
  });
