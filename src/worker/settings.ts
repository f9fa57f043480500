import {
  type Env,
  httpUrl,
  integer,
  matching,
  parseSettings,
  type Schema,
  type Setting,
  type Settings,
} from "../support/settings.ts";
import type { JobDefaults } from "./job.ts";

/** Kafka's own rule for topic names: `org.apache.kafka.common.internals.Topic`. */
const topic = (fallback: string, about: string): Setting<string> => ({
  fallback,
  expected: "a topic name: 1 to 249 letters, digits, '.', '_' or '-', not '.' or '..'",
  about,
  parse: (text) => (/^[\w.-]{1,249}$/.test(text) && !/^\.{1,2}$/.test(text) ? text : undefined),
});

const brokers: Setting<string[]> = {
  fallback: "localhost:9092",
  expected: "host:port, or several with commas between",
  about: "Brokers to start from: host:port, commas between.",
  parse: (text) => {
    const list = text.split(",").map((broker) => broker.trim());
    const valid = list.every((broker) => {
      const port = /^(?:[\w.-]+|\[[\da-f:]+\]):(\d{1,5})$/i.exec(broker)?.[1];
      return port !== undefined && Number(port) >= 1 && Number(port) <= 65_535;
    });
    return valid ? list : undefined;
  },
};

const token: Setting<string> = {
  fallback: "",
  expected: "a bearer token without white space",
  about: "Bearer token for the Resonate server; empty for none.",
  parse: (text) => (/\s/.test(text) ? undefined : text),
  secret: true,
};

const HOUR_MS = 3_600_000;
const milliseconds = (fallback: number, min: number, max: number, about: string) =>
  integer(fallback, { min, max, unit: "milliseconds", about });

/** Settings that are the same for every job, in the order of `.env.example`. */
export const commonSchema = {
  KAFKA_BROKERS: brokers,
  TOPIC_PARTITIONS: integer(4, {
    min: 1,
    max: 10_000,
    unit: "partitions",
    about: "Number of partitions for topics that this application creates.",
  }),
  RESONATE_URL: httpUrl("http://localhost:8001", "The Resonate server."),
  RESONATE_TOKEN: token,
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
};

/** Settings that every job has, with defaults of its own. */
const jobSchema = (defaults: JobDefaults) => ({
  TOPIC_SOURCE: topic(defaults.TOPIC_SOURCE, "Topic the job's messages come from."),
  TOPIC_COMPLETIONS: topic(defaults.TOPIC_COMPLETIONS, "Topic its completions go to."),
  TOPIC_DEAD_LETTERS: topic(defaults.TOPIC_DEAD_LETTERS, "Topic for messages that cannot be worked on."),
  KAFKA_GROUP_ID: matching(defaults.KAFKA_GROUP_ID, {
    expected: "a consumer group name: 1 to 255 characters",
    pattern: /^.{1,255}$/,
    about: "Consumer group of its workers.",
  }),
  RESONATE_GROUP: matching(defaults.RESONATE_GROUP, {
    expected: "a worker group name: letters, digits, '.', '_' or '-'",
    pattern: /^[\w.-]{1,255}$/,
    about: "Worker group at the Resonate server: its workers go on with each other's executions.",
  }),
  STEP_CONCURRENCY: integer(defaults.STEP_CONCURRENCY, {
    min: 1,
    max: 10_000,
    unit: "steps",
    about: "How many steps a worker runs at the same time. The others wait and keep their leases.",
  }),
  STEP_MAX_ATTEMPTS: integer(defaults.STEP_MAX_ATTEMPTS, {
    min: 1,
    max: 1_000_000,
    unit: "attempts",
    about: "How often a step is tried before its message goes to the dead letters.",
  }),
});

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

/**
 * Reads all settings of a job from `env`; a name that is not set takes its default.
 *
 * @throws {SettingsError} one line for each setting that is not valid: its name, what was expected, what was got
 */
export const parseJobSettings = <S extends Schema>(job: WithSettings<S>, env: Env) =>
  parseSettings(schemaOf(job), env, {
    renamed: RENAMED,
    check: ({ TOPIC_SOURCE, TOPIC_COMPLETIONS, TOPIC_DEAD_LETTERS }) => {
      const topics = [TOPIC_SOURCE, TOPIC_COMPLETIONS, TOPIC_DEAD_LETTERS];
      return new Set(topics).size === topics.length
        ? []
        : [
            `TOPIC_SOURCE, TOPIC_COMPLETIONS, TOPIC_DEAD_LETTERS: expected three topics, got ${topics.join(", ")}`,
          ];
    },
  });
