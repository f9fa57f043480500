import assert from "node:assert/strict";
import { test } from "node:test";
import kafkajs from "kafkajs";
import { OutageError } from "../../src/support/errors.ts";
import {
  createSendDeadLetter,
  EXECUTION_FAILED,
  HEADERS,
  REDRIVES_HEADER,
  toDeadLetterMessage,
} from "../../src/worker/dead-letter.ts";
import { type Envelope, packMessage } from "../../src/worker/envelope.ts";
import { createMemoryLog } from "../helpers/unit-log.ts";
import { createFakeProducer } from "../helpers/unit-producer.ts";

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
  assert.deepEqual(Object.keys(again.headers ?? {}), Object.keys(first.headers ?? {}));
});

test("a message without key and value has none in the dead-letter topic either", () => {
  const { key, value } = toDeadLetterMessage({ ...letter, key: null, value: null }, now);
  assert.deepEqual([key, value], [null, null]);
});

const errorOf = (error: string) =>
  String(toDeadLetterMessage({ ...letter, error }, now).headers?.[HEADERS.error]);

test("of an error 4 KiB are kept, cut where a character ends", () => {
  for (const character of ["x", "é", "記", "🙂"]) {
    const size = Buffer.byteLength(character);
    for (const before of ["", "a", "ab", "abc"]) {
      const cut = errorOf(before + character.repeat(5000));
      const bytes = Buffer.byteLength(cut);
      assert.ok(bytes <= 4096 && bytes > 4096 - size, `${bytes} bytes of ${character}`);
      assert.equal(cut, before + character.repeat((bytes - before.length) / size));
    }
  }
});

test("an error of up to 4 KiB is kept whole", () => {
  for (const error of ["x".repeat(4096), "é".repeat(2048), "short", "ends in \ufffd", ""]) {
    assert.equal(errorOf(error), error);
  }
});

const failed: Envelope = {
  id: "m-1",
  partition: 3,
  offset: "41",
  redrives: 0,
  deadline: 0,
  original: null,
  args: ["input"],
};

const build = (failures: readonly Error[] = []) => {
  const log = createMemoryLog();
  const producer = createFakeProducer(failures);
  const topics = { source: "source", deadLetters: "dead-letters" };
  const send = createSendDeadLetter({ producer, job: "orders", topics, now: () => now.getTime(), log });
  return { send, producer, log };
};

/** What the letters of failed executions say beside their original's headers. */
const places = {
  [HEADERS.reason]: EXECUTION_FAILED,
  [HEADERS.error]: "no more tries: locked",
  [HEADERS.topic]: "source",
  [HEADERS.partition]: "3",
  [HEADERS.offset]: "41",
  [HEADERS.time]: "2026-11-23T21:00:00.123Z",
};
const cause = new Error("no more tries", { cause: new Error("locked") });

test("a failed execution's letter is its message byte for byte, with where, when and why", async () => {
  const { send, producer, log } = build();
  const key = Buffer.from([0xff, 1]);
  const value = Buffer.from([0x7b, 0xfe]);
  const headers = { trace: Buffer.from([0x80]), many: [Buffer.from("a"), Buffer.from("a")] };
  await send({ ...failed, original: packMessage({ key, value, headers }) }, cause);
  const [sent, ...others] = producer.sent;
  assert.deepEqual(others, []);
  assert.deepEqual([sent?.topic, sent?.acks], ["dead-letters", -1]);
  assert.deepEqual([sent?.message.key, sent?.message.value], [key, value]);
  assert.deepEqual(sent?.message.headers, {
    ...headers,
    ...places,
    [HEADERS.key]: "orders/m-1/enqueueDeadLetter/0",
  });
  assert.equal(log.lines.length, 1);
  assert.match(log.lines[0] ?? "", /m-1 in position 41 goes to dead-letters: no more tries: locked$/);
});

test("a letter whose message was too large to keep names what it lacks and where it stands", async () => {
  const { send, producer } = build();
  await send({ ...failed, redrives: 2 }, cause);
  const { key, value, headers } = producer.sent[0]?.message ?? {};
  assert.deepEqual([key, value], [null, null]);
  assert.deepEqual(headers, {
    ...places,
    [HEADERS.without]: "key,value,headers",
    [REDRIVES_HEADER]: "2",
    [HEADERS.key]: "orders/m-1/enqueueDeadLetter/2",
  });
});

test("a repeat of one letter carries the same key, that of another redrive a different one", async () => {
  const { send, producer } = build();
  for (const redrives of [0, 0, 1]) await send({ ...failed, redrives }, cause);
  const keys = producer.sent.map(({ message }) => message.headers?.[HEADERS.key]);
  assert.equal(keys[0], keys[1]);
  assert.notEqual(keys[1], keys[2]);
});

test("a letter that was one before tells of the last failure only", async () => {
  const { send, producer } = build();
  const before = { [HEADERS.reason]: "invalid-utf8", [HEADERS.key]: "old", [HEADERS.without]: "value" };
  await send({ ...failed, original: packMessage({ key: null, value: null, headers: before }) }, cause);
  const { headers } = producer.sent[0]?.message ?? {};
  assert.equal(headers?.[HEADERS.reason], EXECUTION_FAILED);
  assert.equal(headers?.[HEADERS.key], "orders/m-1/enqueueDeadLetter/0");
});

test("what was thrown that is no error is told, too", async () => {
  const { send, producer } = build();
  for (const thrown of ["just text", undefined, 7]) await send(failed, thrown);
  assert.deepEqual(
    producer.sent.map(({ message }) => message.headers?.[HEADERS.error]),
    ["just text", "undefined", "7"],
  );
});

test("a broker that is away is an outage, one that refuses a failure; nothing is said to be sent", async () => {
  const refused = new Error("message too large");
  const { send, log } = build([new kafkajs.KafkaJSConnectionError("ECONNREFUSED"), refused]);
  await assert.rejects(send(failed, cause), OutageError);
  await assert.rejects(send(failed, cause), (error) => error === refused);
  assert.deepEqual(log.lines, []);
});
