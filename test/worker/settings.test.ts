import assert from "node:assert/strict";
import { test } from "node:test";
import { job } from "../../src/jobs/deletion/job.ts";
import { listJobs, loadJob } from "../../src/jobs/load-job.ts";
import { type Env, SettingsError } from "../../src/support/settings.ts";
import { parseJobSettings, schemaOf } from "../../src/worker/settings.ts";

const schema = schemaOf(job);
const defaults = Object.fromEntries(Object.entries(schema).map(([name, { fallback }]) => [name, fallback]));

const faultsOf = (env: Env): string[] => {
  try {
    parseJobSettings(job, env);
  } catch (error) {
    assert.ok(error instanceof SettingsError, `expected a SettingsError, got ${error}`);
    assert.equal(error.code, "INVALID_SETTINGS");
    assert.equal(error.canRetry, false);
    return error.message.split("\n");
  }
  return [];
};

test("without an environment every setting has its default", () => {
  const {
    KAFKA_BROKERS,
    BATCH_SIZE,
    SIMULATED_FAILURE_RATE,
    RESONATE_TOKEN,
    KAFKA_SASL_PASSWORD,
    ...others
  } = parseJobSettings(job, {});
  assert.deepEqual(KAFKA_BROKERS, ["localhost:9092"]);
  assert.equal(BATCH_SIZE, 10);
  assert.equal(SIMULATED_FAILURE_RATE, 0.25);
  assert.equal(RESONATE_TOKEN.reveal(), "");
  assert.equal(KAFKA_SASL_PASSWORD.reveal(), "");
  for (const [name, value] of Object.entries(others)) assert.equal(String(value), defaults[name], name);
});

test("values are trimmed and read", () => {
  const settings = parseJobSettings(job, {
    KAFKA_BROKERS: " a.example:1, b:65535 ,[::1]:9092,under_score:9092",
    RESONATE_URL: "https://resonate.example:8443/",
    RESONATE_TOKEN: " s3cret ",
    SIMULATED_FAILURE_RATE: "0",
    BATCH_SIZE: " 100000 ",
    BATCH_PAUSE_MS: "0",
    RECORDS_DB: "/data/my records.db",
    HTTP_PORT: " 9464 ",
    HTTP_HOST: "::1",
    UNKNOWN: "is ignored",
  });
  assert.deepEqual(settings.KAFKA_BROKERS, ["a.example:1", "b:65535", "[::1]:9092", "under_score:9092"]);
  assert.equal(settings.RESONATE_URL, "https://resonate.example:8443");
  assert.equal(settings.RESONATE_TOKEN.reveal(), "s3cret");
  assert.equal(settings.SIMULATED_FAILURE_RATE, 0);
  assert.equal(settings.BATCH_SIZE, 100_000);
  assert.equal(settings.BATCH_PAUSE_MS, 0);
  assert.equal(settings.RECORDS_DB, "/data/my records.db");
  assert.equal(settings.HTTP_PORT, 9464);
  assert.equal(settings.HTTP_HOST, "::1");
  assert.ok(!("UNKNOWN" in settings));
});

const notWhole = [
  "",
  " ",
  "ten",
  "1e3",
  "0x10",
  "1.5",
  "--1",
  "+5",
  "1,000",
  "1_000",
  "NaN",
  "Infinity",
  "٣",
];
const badTopics = ["", " ", ".", "..", "a b", "a/b", "a:b", "ä", "x".repeat(250)];
/** Below the least and above the greatest value of each whole number. */
const bounds = {
  TOPIC_PARTITIONS: ["0", "10001"],
  LEASE_TTL_MS: ["499", "3600001"],
  STEP_MAX_TAKEOVERS: ["1", "1000001"],
  WORKFLOW_TIMEOUT_MS: ["0", "315360000001"],
  BATCH_SIZE: ["0", "100001"],
  BATCH_PAUSE_MS: ["-1", "31536000001"],
  BATCHES_PER_SEGMENT: ["0", "1001"],
  SIMULATED_LATENCY_MS: ["-1", "3600001"],
  SESSION_TIMEOUT_MS: ["499", "3600001"],
  DISPATCH_CONCURRENCY: ["0", "10001"],
  MAX_IN_FLIGHT: ["0", "1000001"],
  STEP_CONCURRENCY: ["0", "10001"],
  STEP_MAX_ATTEMPTS: ["0", "1000001"],
  RETRY_DELAY_MS: ["0", "3600001"],
  SHUTDOWN_GRACE_MS: ["-1", "3600001"],
};
const SECRETS = new Set(["RESONATE_TOKEN", "KAFKA_SASL_PASSWORD"]);
const invalid: Readonly<Record<string, readonly string[]>> = {
  TAKE_MESSAGES: ["", "true"],
  KAFKA_BROKERS: [
    "",
    "host",
    "host:",
    ":9092",
    "host:0",
    "host:65536",
    "host:999999",
    "a:1,,b:2",
    "a:1,",
    "a:1 b:2",
    "http://host:9092",
    "::1:9092",
  ],
  KAFKA_GROUP_ID: ["", "  ", "x".repeat(256)],
  TOPIC_SOURCE: badTopics,
  TOPIC_COMPLETIONS: badTopics,
  TOPIC_DEAD_LETTERS: badTopics,
  RESONATE_URL: [
    "",
    "localhost:8001",
    "ftp://host",
    "//host",
    "http://",
    "http://host:99999",
    "http://host/path",
    "http://host/?query",
    "http://host?query",
    "http://host/#hash",
  ],
  RESONATE_TOKEN: ["two words", "two\nlines"],
  RESONATE_CA_FILEPATH: ["a\nb"],
  EVENTS_FILE: ["a\nb"],
  KAFKA_TLS_ENABLED: ["", "yes", "TRUE", "1"],
  KAFKA_TLS_CAFILEPATH: ["a\nb"],
  KAFKA_TLS_CERTFILEPATH: ["a\nb"],
  KAFKA_TLS_KEYFILEPATH: ["a\nb"],
  KAFKA_SASL_MECHANISM: ["plain", "GSSAPI", "SCRAM-SHA-1"],
  KAFKA_SASL_USERNAME: ["a\nb"],
  KAFKA_SASL_PASSWORD: ["a\nb"],
  KAFKA_SASL_OAUTHBEARER_PROVIDER: ["a\nb"],
  RESONATE_GROUP: ["", "a b", "a/b", "a:b", "a?b", "ä", "x".repeat(256)],
  SIMULATED_FAILURE_RATE: ["", "1", "1.0", "2", "-0.1", ".5", "50%", "1e-3", "NaN", "0.99999999999999999999"],
  RECORDS_DB: ["", "  "],
  HTTP_PORT: ["http", "-1", "1.5", "65536", "999999", "80 81"],
  LOG_LEVEL: ["", "trace", "INFO", "7"],
  LOG_FORMAT: ["", "text", "JSON"],
  HTTP_HOST: ["", "a b", "http://host", "a/b", "x".repeat(254)],
  ...Object.fromEntries(Object.entries(bounds).map(([name, values]) => [name, [...notWhole, ...values]])),
};

test("every setting is checked below", () => {
  assert.deepEqual(Object.keys(invalid).sort(), Object.keys(defaults).sort());
});

for (const [name, values] of Object.entries(invalid)) {
  test(`${name}: what is not valid is told with what was expected and what was got`, () => {
    for (const value of values) {
      const [fault, ...others] = faultsOf({ [name]: value });
      assert.ok(fault !== undefined, `${JSON.stringify(value)} was taken`);
      assert.deepEqual(others, []);
      assert.match(fault, new RegExp(`^${name}: expected .+, got `));
      if (!SECRETS.has(name)) assert.ok(fault.endsWith(`, got ${JSON.stringify(value)}`), fault);
    }
  });
}

for (const [name, [below, above]] of Object.entries(bounds)) {
  test(`${name}: the least and the greatest value are taken`, () => {
    for (const value of [String(Number(below) + 1), String(Number(above) - 1)]) {
      assert.deepEqual(faultsOf({ [name]: value }), []);
    }
  });
}

test("all faults are told together, one line each, in the order of the settings", () => {
  const faults = faultsOf({
    BATCH_SIZE: "many",
    KAFKA_BROKERS: "nowhere",
    RESONATE_TOKEN: "a b",
    BATCH_PAUSE_MS: "7",
  });
  assert.deepEqual(
    faults.map((fault) => fault.split(":", 1)[0]),
    ["KAFKA_BROKERS", "RESONATE_TOKEN", "BATCH_SIZE"],
  );
});

test("the token appears in no message, whatever else is wrong", () => {
  const token = "s3cret-t0ken";
  assert.ok(
    !faultsOf({ RESONATE_TOKEN: `${token} ${token}` })
      .join()
      .includes(token),
  );
  for (const [name, values] of Object.entries(invalid)) {
    if (name === "RESONATE_TOKEN") continue;
    assert.ok(
      !faultsOf({ RESONATE_TOKEN: token, [name]: values[0] })
        .join()
        .includes(token),
    );
  }
});

test("user name and password in an address are refused and not shown", () => {
  const addresses = [
    "http://user:s3cret@host:8001",
    "http://s3cret@host",
    "https://user:s3cret@",
    "http://user:s3cret/with-slash@host",
    "user:s3cret@host",
  ];
  for (const name of ["RESONATE_URL", "KAFKA_BROKERS"]) {
    for (const address of addresses) {
      const faults = faultsOf({ [name]: address });
      assert.equal(faults.length, 1, address);
      assert.doesNotMatch(faults.join(), /s3cret|user:/);
    }
  }
});

test("every job has the same settings for the worker, with defaults of its own", async () => {
  for (const name of listJobs()) {
    const other = await loadJob([name]);
    const { TOPIC_SOURCE, STEP_CONCURRENCY } = parseJobSettings(other, {});
    assert.deepEqual(
      [TOPIC_SOURCE, STEP_CONCURRENCY],
      [other.defaults.TOPIC_SOURCE, other.defaults.STEP_CONCURRENCY],
    );
    const missing = Object.keys(schema).filter((own) => !(own in job.settings) && !(own in schemaOf(other)));
    assert.deepEqual(missing, []);
  }
});

const renamed = {
  TOPIC_TO_DELETE: "TOPIC_SOURCE",
  TOPIC_DELETED: "TOPIC_COMPLETIONS",
  TOPIC_DEAD_LETTER: "TOPIC_DEAD_LETTERS",
  DELETE_CONCURRENCY: "STEP_CONCURRENCY",
  DELETE_MAX_ATTEMPTS: "STEP_MAX_ATTEMPTS",
};
for (const [old, now] of Object.entries(renamed)) {
  test(`${old} is refused with the name that took its place`, () => {
    assert.deepEqual(faultsOf({ [old]: "7" }), [`${old}: this setting is now called ${now}`]);
    assert.ok(now in schema && !(old in schema));
  });
}

test("a job's three topics must be three, white space aside", () => {
  const { TOPIC_SOURCE, TOPIC_COMPLETIONS, TOPIC_DEAD_LETTERS } = defaults;
  for (const env of [
    { TOPIC_SOURCE: TOPIC_COMPLETIONS },
    { TOPIC_COMPLETIONS: ` ${TOPIC_SOURCE} ` },
    { TOPIC_DEAD_LETTERS: TOPIC_SOURCE },
    { TOPIC_SOURCE: "one", TOPIC_COMPLETIONS: "one", TOPIC_DEAD_LETTERS: "one\t" },
  ]) {
    const [fault, ...others] = faultsOf(env);
    assert.match(
      fault ?? "",
      /^TOPIC_SOURCE, TOPIC_COMPLETIONS, TOPIC_DEAD_LETTERS: expected three topics, got /,
    );
    assert.deepEqual(others, []);
  }
  assert.deepEqual(faultsOf({ TOPIC_SOURCE: TOPIC_DEAD_LETTERS, TOPIC_DEAD_LETTERS: TOPIC_SOURCE }), []);
});
