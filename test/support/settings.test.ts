import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { parseCount, readEnv, SettingsError } from "../../src/support/settings.ts";

const makeFolder = (t: TestContext): string => {
  const folder = mkdtempSync(join(tmpdir(), "settings-"));
  t.after(() => rmSync(folder, { recursive: true }));
  return folder;
};

test("whole numbers from 1 to the maximum are taken", () => {
  for (const [text, count] of [
    ["1", 1],
    ["25", 25],
    ["1000", 1000],
    ["007", 7],
  ] as const) {
    assert.equal(parseCount("-n", text, { max: 1000 }), count);
  }
});

test("anything else is told with the option, what was expected and what was got", () => {
  for (const text of [
    "",
    "0",
    "-1",
    "1001",
    "1.5",
    "1e2",
    "0x10",
    " 5",
    "5 ",
    "Infinity",
    "٣",
    "9".repeat(30),
  ]) {
    assert.throws(
      () => parseCount("-n", text, { max: 1000 }),
      (error) =>
        error instanceof SettingsError &&
        error.message === `-n: expected a whole number from 1 to 1000, got ${JSON.stringify(text)}`,
      text,
    );
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
