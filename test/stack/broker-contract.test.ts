/**
 * What any Kafka must do for this project, seen through kafkajs. Runs against the embedded broker, or against a
 * real one if KAFKA_BROKERS names it.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { CompressionTypes } from "kafkajs";
import {
  connectAdmin,
  connectProducer,
  createKafka,
  createTopic,
  distinct,
  startBrokers,
  startConsumer,
} from "./broker-client.ts";
import { eventually, randomName } from "./contract.ts";

test("a message comes back as it was sent, null value, key, headers and timestamp alike", async (t) => {
  const kafka = createKafka(await startBrokers(t));
  const topic = await createTopic(await connectAdmin(t, kafka));
  const producer = await connectProducer(t, kafka);
  await producer.send({
    topic,
    messages: [
      { key: "k", value: "välue", headers: { trace: "abc", empty: "" }, timestamp: "1700000000000" },
      { key: "tombstone", value: null },
      { key: null, value: "" },
    ],
  });
  const { messages } = await startConsumer(t, kafka, topic, { groupId: randomName("group") });
  await eventually("three messages read", () => messages.length === 3);
  const [first, tombstone, keyless] = messages;
  assert.equal(first?.key?.toString(), "k");
  assert.equal(first?.value?.toString(), "välue");
  assert.equal(first?.timestamp, "1700000000000");
  assert.deepEqual(
    Object.entries(first?.headers ?? {}).map(([name, value]) => [name, value?.toString()]),
    [
      ["trace", "abc"],
      ["empty", ""],
    ],
  );
  assert.equal(tombstone?.key?.toString(), "tombstone");
  assert.equal(tombstone?.value, null);
  assert.equal(keyless?.key, null);
  assert.equal(keyless?.value?.toString(), "");
});

test("offsets count up without gaps, and batches keep their order", async (t) => {
  const kafka = createKafka(await startBrokers(t));
  const admin = await connectAdmin(t, kafka);
  const topic = await createTopic(admin);
  const producer = await connectProducer(t, kafka);
  const baseOffsets: (string | undefined)[] = [];
  for (const round of [0, 1, 2]) {
    const messages = [0, 1, 2, 3].map((n) => ({ value: String(round * 4 + n) }));
    const [sent] = await producer.send({ topic, messages });
    baseOffsets.push(sent?.baseOffset);
  }
  assert.deepEqual(baseOffsets, ["0", "4", "8"]);
  assert.deepEqual(await admin.fetchTopicOffsets(topic), [
    { partition: 0, offset: "12", high: "12", low: "0" },
  ]);

  const { consumer, messages } = await startConsumer(t, kafka, topic, { groupId: randomName("group") });
  const expected = Array.from({ length: 12 }, (_, n) => String(n));
  await eventually("twelve messages read", () => messages.length === 12);
  assert.deepEqual(
    messages.map(({ value }) => String(value)),
    expected,
  );
  assert.deepEqual(
    messages.map(({ offset }) => offset),
    expected,
  );
  consumer.seek({ topic, partition: 0, offset: "6" }); // inside the second batch
  await eventually("read again from 6", () => messages.length === 18);
  assert.equal(messages[12]?.offset, "6");
});

test("offsets are found by timestamp", async (t) => {
  const kafka = createKafka(await startBrokers(t));
  const admin = await connectAdmin(t, kafka);
  const topic = await createTopic(admin);
  const producer = await connectProducer(t, kafka);
  for (const timestamp of ["1700000001000", "1700000003000", "1700000002000"]) {
    await producer.send({ topic, messages: [{ value: timestamp, timestamp }] });
  }
  const offsetAt = async (timestamp: number) =>
    (await admin.fetchTopicOffsetsByTimestamp(topic, timestamp))[0]?.offset;
  assert.equal(await offsetAt(1_600_000_000_000), "0");
  assert.equal(await offsetAt(1_700_000_001_001), "1");
  assert.equal(await offsetAt(1_700_000_003_000), "1");
  assert.equal(await offsetAt(1_800_000_000_000), "3"); // none that young: kafkajs falls back to the end
});

test("large and compressed batches, more than one fetch can hold", async (t) => {
  const kafka = createKafka(await startBrokers(t));
  const topic = await createTopic(await connectAdmin(t, kafka), 2);
  const producer = await connectProducer(t, kafka, true);
  const send = (compression: CompressionTypes) =>
    producer.send({
      topic,
      compression,
      messages: Array.from({ length: 3_000 }, (_, n) => ({
        key: String(n),
        value: `${n}`.padStart(280, "x"),
      })),
    });
  await send(CompressionTypes.None);
  await send(CompressionTypes.GZIP);
  const { messages } = await startConsumer(t, kafka, topic, {
    groupId: randomName("group"),
    maxBytes: 100_000, // less than one batch, which has to come all the same
    maxBytesPerPartition: 50_000,
  });
  await eventually("6,000 messages read", () => messages.length === 6_000);
  assert.equal(distinct(messages), 6_000);
});

test("a message over the size limit is refused and leaves the log alone", async (t) => {
  const kafka = createKafka(await startBrokers(t));
  const admin = await connectAdmin(t, kafka);
  const topic = await createTopic(admin);
  const producer = await connectProducer(t, kafka);
  const tooLarge = producer.send({ topic, messages: [{ value: "x".repeat(1_100_000) }] });
  await assert.rejects(tooLarge, { type: "MESSAGE_TOO_LARGE" });
  const [sent] = await producer.send({ topic, messages: [{ value: "x".repeat(1_000_000) }] });
  assert.equal(sent?.baseOffset, "0");
});

test("topics are created once, checked and deleted", async (t) => {
  const admin = await connectAdmin(t, createKafka(await startBrokers(t)));
  const topic = randomName("topic");
  const create = (name: string, numPartitions: number, validateOnly = false) =>
    admin.createTopics({ topics: [{ topic: name, numPartitions }], validateOnly, waitForLeaders: false });
  const causedBy = (type: string) => (error: { errors?: { type?: string }[] }) =>
    error.errors?.[0]?.type === type;

  assert.equal(await create(topic, 3, true), true);
  assert.equal((await admin.listTopics()).includes(topic), false);
  assert.equal(await create(topic, 3), true);
  assert.equal(await create(topic, 3), false);
  await eventually("the topic is listed", async () => (await admin.listTopics()).includes(topic));
  const metadata = await admin.fetchTopicMetadata({ topics: [topic] });
  assert.equal(metadata.topics[0]?.partitions.length, 3);
  await assert.rejects(create("not a topic", 1), causedBy("INVALID_TOPIC_EXCEPTION"));
  await assert.rejects(create(randomName("topic"), 0), causedBy("INVALID_PARTITIONS"));
  await admin.deleteTopics({ topics: [topic] });
  await eventually("the topic is gone", async () => !(await admin.listTopics()).includes(topic));
});

test("an unknown topic is an error where it is not to be created", async (t) => {
  const admin = await connectAdmin(t, createKafka(await startBrokers(t), 0));
  const topic = randomName("unknown");
  const isUnknown = { type: "UNKNOWN_TOPIC_OR_PARTITION" };
  await assert.rejects(admin.fetchTopicMetadata({ topics: [topic] }), isUnknown);
  await assert.rejects(
    admin.deleteTopics({ topics: [topic] }),
    ({ cause }) => cause?.type === isUnknown.type,
  );
  assert.equal((await admin.listTopics()).includes(topic), false);
});
