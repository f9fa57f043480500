/** The part of the contract (see `broker-contract.test.ts`) that concerns compressed batches. */
import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { test } from "node:test";
import kafkajs from "kafkajs";
import { registerCodecs } from "../../src/kafka/compression.ts";
import {
  connectAdmin,
  connectProducer,
  createKafka,
  createTopic,
  startBrokers,
  startConsumer,
} from "./broker-client.ts";
import { eventually, randomName } from "./contract.ts";

registerCodecs();
const { CompressionTypes } = kafkajs;
const codecs = [
  ["gzip", CompressionTypes.GZIP],
  ["snappy", CompressionTypes.Snappy],
  ["lz4", CompressionTypes.LZ4],
  ["zstd", CompressionTypes.ZSTD],
] as const;

/** Values that compress well, and a few that do not. */
const values = Array.from({ length: 500 }, (_, n) =>
  n % 50 === 0 ? `${n} ${randomName("x").repeat(20)}` : `${n} `.padEnd(300, "abc"),
);

for (const [name, compression] of codecs) {
  test(`a ${name} batch is taken and read as it was`, async (t) => {
    const kafka = createKafka(await startBrokers(t));
    const topic = await createTopic(await connectAdmin(t, kafka));
    const producer = await connectProducer(t, kafka);
    await producer.send({ topic, compression, messages: values.map((value) => ({ value })) });
    const { messages } = await startConsumer(t, kafka, topic, { groupId: randomName("group") });
    await eventually("all read", () => messages.length === values.length);
    assert.deepEqual(
      messages.map(({ value }) => String(value)),
      values,
    );
  });

  const missing = spawnSync("kcat", ["-V"]).error;
  test(`a ${name} batch of librdkafka is read as it was`, { skip: missing && "no kcat here" }, async (t) => {
    const brokers = await startBrokers(t);
    const kafka = createKafka(brokers);
    const topic = await createTopic(await connectAdmin(t, kafka));
    const args = ["-P", "-b", brokers.join(), "-t", topic, "-p", "0", "-z", name, "-X", "linger.ms=200"];
    const kcat = spawn("kcat", args, { stdio: ["pipe", "inherit", "inherit"] });
    kcat.stdin.end(`${values.join("\n")}\n`);
    assert.deepEqual(await once(kcat, "exit"), [0, null]);
    const { messages } = await startConsumer(t, kafka, topic, { groupId: randomName("group") });
    await eventually("all read", () => messages.length >= values.length);
    assert.deepEqual(
      messages.map(({ value }) => String(value)),
      values,
    );
  });
}
