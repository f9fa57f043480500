import dotenv from "dotenv";

/** The environment as Node gives it: names to values, unset names absent. */
export type Env = Readonly<Record<string, string | undefined>>;

/** One setting: its default as it would stand in `.env`, what is expected, and how to read it. */
interface Setting<T> {
  readonly fallback: string;
  readonly expected: string;
  /** Returns `undefined` for text that is not what is expected. */
  readonly parse: (text: string) => T | undefined;
  /** The value never appears in a message. */
  readonly secret?: true;
}

const setting = <T>(
  fallback: string,
  expected: string,
  parse: (text: string) => T | undefined,
): Setting<T> => ({ fallback, expected, parse });

const matching = (fallback: string, expected: string, pattern: RegExp) =>
  setting(fallback, expected, (text) => (pattern.test(text) ? text : undefined));

const number = (fallback: string, expected: string, isValid: (value: number) => boolean) =>
  setting(fallback, expected, (text) => {
    const value = /^-?\d+(\.\d+)?$/.test(text) ? Number(text) : Number.NaN;
    return isValid(value) ? value : undefined;
  });

const integer = (fallback: number, min: number, max: number, unit: string) =>
  number(
    String(fallback),
    `a whole number of ${unit} from ${min} to ${max}`,
    (value) => Number.isInteger(value) && value >= min && value <= max,
  );

/** Kafka's own rule for topic names: `org.apache.kafka.common.internals.Topic`. */
const topic = (fallback: string) =>
  setting(fallback, "a topic name: 1 to 249 letters, digits, '.', '_' or '-', not '.' or '..'", (text) =>
    /^[\w.-]{1,249}$/.test(text) && !/^\.{1,2}$/.test(text) ? text : undefined,
  );

const brokers = setting("localhost:9092", "host:port, or several with commas between", (text) => {
  const list = text.split(",").map((broker) => broker.trim());
  const valid = list.every((broker) => {
    const port = /^(?:[\w.-]+|\[[\da-f:]+\]):(\d{1,5})$/i.exec(broker)?.[1];
    return port !== undefined && Number(port) >= 1 && Number(port) <= 65_535;
  });
  return valid ? list : undefined;
});

const httpUrl = (fallback: string) =>
  setting(
    fallback,
    "an http:// or https:// URL of host and port, without user name, password and path",
    (text) => {
      const url = URL.parse(text);
      if (url === null || !/^https?:$/.test(url.protocol)) return;
      // The SDK takes the first parts of a path for group and worker (PollMessageSource).
      return url.href === `${url.origin}/` ? url.origin : undefined;
    },
  );

const HOUR_MS = 3_600_000;

/** Every setting, in the order of `.env.example`. */
const schema = {
  KAFKA_BROKERS: brokers,
  KAFKA_GROUP_ID: matching(
    "record_consumer_group",
    "a consumer group name: 1 to 255 characters",
    /^.{1,255}$/,
  ),
  TOPIC_TO_DELETE: topic("records_to_be_deleted"),
  TOPIC_DELETED: topic("records_that_were_deleted"),
  TOPIC_DEAD_LETTER: topic("records_to_be_deleted.dlq"),
  TOPIC_PARTITIONS: integer(4, 1, 10_000, "partitions"),
  RESONATE_URL: httpUrl("http://localhost:8001"),
  RESONATE_TOKEN: {
    ...setting("", "a bearer token without white space", (text) => (/\s/.test(text) ? undefined : text)),
    secret: true,
  },
  RESONATE_GROUP: matching(
    "workers",
    "a worker group name: letters, digits, '.', '_' or '-'",
    /^[\w.-]{1,255}$/,
  ),
  LEASE_TTL_MS: integer(10_000, 500, HOUR_MS, "milliseconds"),
  WORKFLOW_TIMEOUT_MS: integer(30 * 24 * HOUR_MS, 1, 3650 * 24 * HOUR_MS, "milliseconds"),
  BATCH_SIZE: integer(10, 1, 100_000, "rows"),
  BATCH_PAUSE_MS: integer(5000, 0, 365 * 24 * HOUR_MS, "milliseconds"),
  BATCHES_PER_SEGMENT: integer(5, 1, 1000, "batches"),
  SIMULATED_FAILURE_RATE: number(
    "0.25",
    "a number from 0 up to, but not including, 1",
    (n) => n >= 0 && n < 1,
  ),
  SIMULATED_LATENCY_MS: integer(0, 0, HOUR_MS, "milliseconds"),
  RECORDS_DB: matching("data/records.db", "the path of a file", /./),
  SESSION_TIMEOUT_MS: integer(10_000, 500, HOUR_MS, "milliseconds"),
  DISPATCH_CONCURRENCY: integer(32, 1, 10_000, "messages"),
  MAX_IN_FLIGHT: integer(1000, 1, 1_000_000, "executions"),
  DELETE_CONCURRENCY: integer(16, 1, 10_000, "steps"),
  DELETE_MAX_ATTEMPTS: integer(100, 1, 1_000_000, "attempts"),
  RETRY_DELAY_MS: integer(1000, 1, HOUR_MS, "milliseconds"),
  SHUTDOWN_GRACE_MS: integer(5000, 0, HOUR_MS, "milliseconds"),
} satisfies Record<string, Setting<unknown>>;

type Schema = typeof schema;

/** All settings, parsed and valid. */
export type Config = {
  readonly [K in keyof Schema]: NonNullable<ReturnType<Schema[K]["parse"]>>;
};

/** The defaults as text, in the order of `.env.example`. */
export const defaults: Readonly<Record<string, string>> = Object.fromEntries(
  Object.entries(schema).map(([name, { fallback }]) => [name, fallback]),
);

/** Settings that are not valid. `message` holds one line for each of them. A retry cannot help. */
export class ConfigError extends Error {
  readonly code = "INVALID_CONFIG";
  readonly canRetry = false;
  constructor(faults: readonly string[]) {
    super(faults.join("\n"));
    this.name = "ConfigError";
  }
}

/**
 * Reads all settings from `env`; a name that is not set takes its default.
 *
 * @throws {ConfigError} one line for each setting that is not valid: its name, what was expected, what was got.
 */
export const parseConfig = (env: Env): Config => {
  const faults: string[] = [];
  const read = (name: string, { fallback, expected, parse, secret }: Setting<unknown>) => {
    const text = env[name] ?? fallback;
    const value = parse(text.trim());
    if (value === undefined) {
      // What stands before an '@' may be a password.
      const hidden = secret || text.includes("@");
      const got = hidden ? "one that is not (it is not shown)" : JSON.stringify(text);
      faults.push(`${name}: expected ${expected}, got ${got}`);
    }
    return value;
  };
  const values = Object.fromEntries(
    Object.entries(schema).map(([name, setting]) => [name, read(name, setting)]),
  );
  const topics = [values.TOPIC_TO_DELETE, values.TOPIC_DELETED, values.TOPIC_DEAD_LETTER];
  if (new Set(topics).size < topics.length) {
    faults.push(
      `TOPIC_TO_DELETE, TOPIC_DELETED, TOPIC_DEAD_LETTER: expected three topics, got ${topics.join(", ")}`,
    );
  }
  if (faults.length > 0) throw new ConfigError(faults);
  // Each value came from the parser the schema holds under its name; fromEntries forgets which.
  return values as Config;
};

/**
 * The environment with the values of a `.env` file beneath it: what the environment sets, wins.
 * A file that is not there counts as empty.
 *
 * @throws {ConfigError} when the file is there but cannot be read.
 */
export const readEnv = (env: Env, path = ".env"): Env => {
  const { parsed = {}, error } = dotenv.config({
    path,
    quiet: true,
    processEnv: {},
  });
  if (error && error.code !== "NOT_FOUND_DOTENV_ENVIRONMENT" && error.code !== "ENOENT") {
    throw new ConfigError([`${path}: expected a readable file, got ${error.message}`]);
  }
  return { ...parsed, ...env };
};
