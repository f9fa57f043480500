import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import dotenv from "dotenv";
import { defaults, type Env, parseConfig, readEnv, SettingsError } from "../../src/worker/settings.ts";

const faultsOf = (env: Env): string[] => {
  try {
    parseConfig(env);
  } catch (error) {
    assert.ok(error instanceof SettingsError, `expected a SettingsError, got ${error}`);
    assert.equal(error.code, "INVALID_CONFIG");
    assert.equal(error.canRetry, false);
    return error.message.split("\n");
  }
  return [];
};

const makeFolder = (t: TestContext): string => {
  const folder = mkdtempSync(join(tmpdir(), "config-"));
  t.after(() => rmSync(folder, { recursive: true }));
  return folder;
};

test("without an environment every setting has its default", () => {
  const { KAFKA_BROKERS, BATCH_SIZE, SIMULATED_FAILURE_RATE, RESONATE_TOKEN, ...others } = parseConfig({});
  assert.deepEqual(KAFKA_BROKERS, ["localhost:9092"]);
  assert.equal(BATCH_SIZE, 10);
  assert.equal(SIMULATED_FAILURE_RATE, 0.25);
  assert.equal(RESONATE_TOKEN, "");
  for (const [name, value] of Object.entries(others)) assert.equal(String(value), defaults[name], name);
});

test(".env.example holds exactly the settings and their defaults, in the schema's order", () => {
  const example = dotenv.parse(readFileSync(new URL("../../.env.example", import.meta.url)));
  assert.deepEqual(Object.entries(example), Object.entries(defaults));
});

test("values are trimmed and read", () => {
  const config = parseConfig({
    KAFKA_BROKERS: " a.example:1, b:65535 ,[::1]:9092,under_score:9092",
    RESONATE_URL: "https://resonate.example:8443/",
    RESONATE_TOKEN: " s3cret ",
    SIMULATED_FAILURE_RATE: "0",
    BATCH_SIZE: " 100000 ",
    BATCH_PAUSE_MS: "0",
    RECORDS_DB: "/data/my records.db",
    UNKNOWN: "is ignored",
  });
  assert.deepEqual(config.KAFKA_BROKERS, ["a.example:1", "b:65535", "[::1]:9092", "under_score:9092"]);
  assert.equal(config.RESONATE_URL, "https://resonate.example:8443");
  assert.equal(config.RESONATE_TOKEN, "s3cret");
  assert.equal(config.SIMULATED_FAILURE_RATE, 0);
  assert.equal(config.BATCH_SIZE, 100_000);
  assert.equal(config.BATCH_PAUSE_MS, 0);
  assert.equal(config.RECORDS_DB, "/data/my records.db");
  assert.ok(!("UNKNOWN" in config));
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
const invalid: Readonly<Record<string, readonly string[]>> = {
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
  RESONATE_GROUP: ["", "a b", "a/b", "a:b", "a?b", "ä", "x".repeat(256)],
  SIMULATED_FAILURE_RATE: ["", "1", "1.0", "2", "-0.1", ".5", "50%", "1e-3", "NaN", "0.99999999999999999999"],
  RECORDS_DB: ["", "  "],
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
      if (name !== "RESONATE_TOKEN") assert.ok(fault.endsWith(`, got ${JSON.stringify(value)}`), fault);
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

test("the environment wins over .env, which fills in what it does not set", (t) => {
  const path = join(makeFolder(t), ".env");
  writeFileSync(path, "BATCH_SIZE=1\nBATCH_PAUSE_MS=2\n# TOPIC_PARTITIONS=3\nRECORDS_DB='a b.db'\n");
  const env = readEnv({ BATCH_SIZE: "20", OTHER: "x" }, path);
  assert.deepEqual(env, { BATCH_SIZE: "20", BATCH_PAUSE_MS: "2", RECORDS_DB: "a b.db", OTHER: "x" });
  assert.equal(process.env.BATCH_PAUSE_MS, undefined, "the process's own environment is left alone");
});

test("a .env that is not there counts as empty", (t) => {
  const env = { BATCH_SIZE: "20" };
  assert.deepEqual(readEnv(env, join(makeFolder(t), ".env")), env);
});

test("a .env that cannot be read is told, not skipped", (t) => {
  const folder = makeFolder(t);
  assert.throws(
    () => readEnv({}, folder),
    (error) =>
      error instanceof SettingsError && error.message.startsWith(`${folder}: expected a readable file, got `),
  );
});
