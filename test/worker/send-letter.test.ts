import assert from "node:assert/strict";
import { test } from "node:test";
import kafkajs, { type Message, type ProducerRecord } from "kafkajs";
import { HEADERS, REDRIVES_HEADER, sendLetter } from "../../src/worker/dead-letter.ts";
import { createFakeProducer } from "../helpers/unit-producer.ts";

const now = new Date("2026-11-25T19:00:00Z");
const letter = {
  key: "key",
  value: "value",
  headers: { own: "1", [REDRIVES_HEADER]: "3" },
  reason: "invalid-json",
  error: "e".repeat(5000),
  topic: "source",
  partition: 2,
  offset: "77",
  letterKey: "job/id/enqueueDeadLetter/3",
};

const tooLarge = (type = "MESSAGE_TOO_LARGE") => {
  const error = Object.assign(new Error("too large"), { type, code: 10, retriable: false });
  // As kafkajs throws it: an error of its own around the broker's.
  return new kafkajs.KafkaJSProtocolError(error);
};

const sizeOf = ({ key, value, headers = {} }: Message) =>
  Buffer.byteLength(key ?? "") +
  Buffer.byteLength(value ?? "") +
  Object.entries(headers).reduce((sum, [name, one]) => sum + name.length + String(one).length, 0);

/** A producer to a topic that takes messages of so many bytes. */
const createTopicOf = (bytes: number) => {
  const sent: Message[] = [];
  return {
    sent,
    send: async ({ messages }: ProducerRecord) => {
      if (messages.some((message) => sizeOf(message) > bytes)) throw tooLarge();
      sent.push(...messages);
      return [];
    },
  };
};

for (const { bytes, parts, lacks } of [
  { bytes: 100_000, parts: {}, lacks: undefined },
  { bytes: 10_000, parts: { value: "v".repeat(20_000) }, lacks: "value" },
  {
    bytes: 10_000,
    parts: { headers: { own: "h".repeat(20_000), [REDRIVES_HEADER]: "3" } },
    lacks: "value,headers",
  },
  { bytes: 10_000, parts: { key: "k".repeat(20_000) }, lacks: "key,value,headers" },
  { bytes: 1000, parts: {}, lacks: "key,value,headers" },
  // Not a count: of any size, and not kept.
  { bytes: 10_000, parts: { headers: { [REDRIVES_HEADER]: "9".repeat(20_000) } }, lacks: "value,headers" },
]) {
  test(`a topic of ${bytes} bytes gets a letter with a large ${Object.keys(parts)} without ${lacks}`, async () => {
    const topic = createTopicOf(bytes);
    await sendLetter(topic, "letters", { ...letter, ...parts }, now);
    const [message] = topic.sent;
    assert.equal(topic.sent.length, 1);
    assert.equal(message?.headers?.[HEADERS.without], lacks);
    assert.equal(message?.headers?.[HEADERS.offset], "77");
    assert.equal(message?.headers?.[HEADERS.key], letter.letterKey);
    const lacking = new Set(lacks?.split(","));
    assert.equal(message?.value === null, lacking.has("value"));
    assert.equal(message?.key === null, lacking.has("key"));
    const kept = { ...letter.headers, ...("headers" in parts ? parts.headers : {}) }[REDRIVES_HEADER];
    assert.equal(message?.headers?.[REDRIVES_HEADER], kept.length < 10 ? kept : undefined);
  });
}

test("a refusal of the whole batch counts as one of the message", async () => {
  const producer = createFakeProducer([tooLarge("RECORD_LIST_TOO_LARGE")]);
  await sendLetter(producer, "letters", letter, now);
  assert.equal(producer.sent[0]?.message.headers?.[HEADERS.without], "value");
});

test("any other failure is the caller's to judge, and the letter stays whole", async () => {
  const failure = new Error("not allowed");
  const producer = createFakeProducer([failure]);
  await assert.rejects(sendLetter(producer, "letters", letter, now), failure);
  assert.equal(producer.calls, 1);
});

test("a topic in which nothing fits is an error", async () => {
  await assert.rejects(sendLetter(createTopicOf(10), "letters", letter, now), { type: "MESSAGE_TOO_LARGE" });
});

test("an original that was lost before is not sent as an empty one", async () => {
  const producer = createFakeProducer();
  await sendLetter(
    producer,
    "letters",
    { ...letter, key: null, value: null, headers: {}, isLost: true },
    now,
  );
  assert.equal(producer.sent[0]?.message.headers?.[HEADERS.without], "key,value,headers");
});

test("what an earlier letter said of its original is not said of this one's", async () => {
  const producer = createFakeProducer();
  const headers = { ...letter.headers, [HEADERS.without]: "value", [HEADERS.key]: "another" };
  await sendLetter(producer, "letters", { ...letter, headers }, now);
  assert.equal(producer.sent[0]?.message.headers?.[HEADERS.without], undefined);
  assert.equal(producer.sent[0]?.message.headers?.[HEADERS.key], letter.letterKey);
});
