import assert from "node:assert/strict";
import { test } from "node:test";
import { retentionOf } from "../../src/kafka/topics.ts";
import { SettingsError } from "../../src/support/settings.ts";
import { assertBound, assertPurgeable, parseAge } from "../../src/worker/purge.ts";

const DAY_MS = 86_400_000;
const UNLIMITED = Number.POSITIVE_INFINITY;

test("an age is a whole number and a unit", () => {
  assert.deepEqual(["30d", "12h", "5m", "10s", "0s"].map(parseAge), [
    30 * DAY_MS,
    12 * 3_600_000,
    300_000,
    10_000,
    0,
  ]);
  for (const text of ["", "30", "d", "-1d", "1.5d", "1w", "1d ", "9999999d"])
    assert.equal(parseAge(text), undefined, text);
});

test("a topic keeps a message for its retention, and for as long as its segment is written to", () => {
  const week = String(7 * DAY_MS);
  const config = { "cleanup.policy": "delete", "retention.ms": week, "segment.ms": week };
  assert.equal(retentionOf(config), 14 * DAY_MS);
  assert.equal(retentionOf({ ...config, "cleanup.policy": "compact,delete" }), 14 * DAY_MS);
  for (const unlimited of [
    { "retention.ms": "-1" },
    { "cleanup.policy": "compact" },
    { "segment.ms": undefined },
  ])
    assert.equal(retentionOf({ ...config, ...unlimited }), UNLIMITED);
});

const bound = { topic: "orders", olderThanMs: 14 * DAY_MS, retentionMs: 14 * DAY_MS, offsetsStay: false };

test("what ended before the topic's oldest messages were written may be deleted", () => {
  assertBound(bound);
  assertBound({ ...bound, retentionMs: UNLIMITED, offsetsStay: true });
});

test("an execution whose message may be delivered again is kept", () => {
  const refused = (own: Partial<typeof bound>, words: RegExp) =>
    assert.throws(
      () => assertBound({ ...bound, ...own }),
      (error) => error instanceof SettingsError && words.test(error.message),
    );
  const short = /^--older-than: expected 14d or more, since orders keeps messages for so long .* got 13d$/;
  refused({ olderThanMs: 13 * DAY_MS }, short);
  refused({ olderThanMs: 13 * DAY_MS, offsetsStay: true }, short);
  refused(
    { retentionMs: UNLIMITED },
    /^--older-than: orders keeps its messages without a limit .* --offsets-stay/,
  );
});

test("a server deletes no executions, and says so", () => {
  assert.throws(
    () => assertPurgeable("http://localhost:8001"),
    /^SettingsError: RESONATE_URL: .* got http:\/\/localhost:8001$/,
  );
  assertPurgeable("postgres://localhost/executions");
});
