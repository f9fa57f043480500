import assert from "node:assert/strict";
import { test } from "node:test";
import { HEADERS, toDeadLetterMessage } from "../../src/worker/dead-letter.ts";

const letter = {
  key: Buffer.from([0xff, 0]),
  value: Buffer.from([0xfe]),
  reason: "invalid-utf8",
  error: "expected UTF-8 text",
  topic: "source",
  partition: 3,
  offset: "9007199254740993",
} as const;
const now = new Date("2026-11-23T21:00:00.123Z");

test("key, value and headers of the original stay as they were, byte for byte", () => {
  const headers = { trace: Buffer.from([1, 2]), many: ["a", "b"] };
  const message = toDeadLetterMessage({ ...letter, headers }, now);
  assert.equal(message.key, letter.key);
  assert.equal(message.value, letter.value);
  assert.equal(message.headers?.trace, headers.trace);
  assert.equal(message.headers?.many, headers.many);
  assert.deepEqual(Object.keys(headers), ["trace", "many"], "the original is left alone");
});

test("headers say where and why", () => {
  assert.deepEqual(toDeadLetterMessage(letter, now).headers, {
    "dead-letter-reason": "invalid-utf8",
    "dead-letter-error": "expected UTF-8 text",
    "dead-letter-topic": "source",
    "dead-letter-partition": "3",
    "dead-letter-offset": "9007199254740993",
    "dead-letter-time": "2026-11-23T21:00:00.123Z",
  });
});

test("a message that becomes a dead letter again tells of the last time", () => {
  const first = toDeadLetterMessage(letter, now);
  const again = toDeadLetterMessage({ ...letter, headers: first.headers, reason: "empty-value" }, now);
  assert.equal(again.headers?.[HEADERS.reason], "empty-value");
  assert.equal(Object.keys(again.headers ?? {}).length, Object.keys(HEADERS).length);
});

test("a message without key and value has none in the dead-letter topic either", () => {
  const { key, value } = toDeadLetterMessage({ ...letter, key: null, value: null }, now);
  assert.deepEqual([key, value], [null, null]);
});
