import assert from "node:assert/strict";
import { suite, test } from "node:test";
import kafkajs, { type IHeaders, type KafkaMessage } from "kafkajs";
import { watchTopic } from "../../src/demo/watch-topic.ts";
import { ensureTopic, withAdmin } from "../../src/kafka/topics.ts";
import { HEADERS, REDRIVES_HEADER } from "../../src/worker/dead-letter.ts";
import { runRedrive } from "../helpers/command-process.ts";
import { type DeletionScene, setScene } from "../helpers/deletion-scene.ts";
import { until } from "../helpers/scene.ts";

const { CompressionTypes } = kafkajs;

/** Makes a dead-letter topic whose batches may be of `bytes` bytes, and reads it. */
const createSmall = async ({ kafka, settings, resources }: DeletionScene, bytes: number) => {
  const topic = `small-${settings.TOPIC_DEAD_LETTERS}`;
  const configEntries = [{ name: "max.message.bytes", value: String(bytes) }];
  await ensureTopic(kafka, { topic, numPartitions: 2, configEntries });
  const read = () => watchTopic(kafka, topic);
  const letters = await until("the small topic", () => read().catch(() => undefined));
  resources.use(letters);
  return { env: { TOPIC_DEAD_LETTERS: topic }, letters: letters.messages };
};

const header = ({ headers }: KafkaMessage, name: keyof typeof HEADERS) => {
  const value = headers?.[HEADERS[name]];
  return value === undefined ? undefined : String(value);
};

/** Headers without those of a dead letter, as text. */
const ownHeaders = (headers: IHeaders | undefined) => {
  const added = new Set<string>(Object.values(HEADERS));
  return Object.fromEntries(
    Object.entries(headers ?? {})
      .filter(([name]) => !added.has(name))
      .map(([name, value]) => [name, String(value)]),
  );
};

const KIB = 1024;

suite("dead letters that do not fit", { concurrency: 2 }, () => {
  test("mode 31: what does not fit the dead-letter topic is set aside without value, headers or key; the good ones run", async (t) => {
    const scene = await setScene(t);
    const { producer, settings } = scene;
    const { env, letters } = await createSmall(scene, 6 * KIB);
    const worker = await scene.startWorker(env);
    const good: string[] = [];
    const bad = [
      { lacks: undefined, message: { key: "fits", value: "{", headers: { own: "1" } } },
      { lacks: "value", message: { key: "value", value: `{${"x".repeat(20 * KIB)}`, headers: { own: "2" } } },
      {
        lacks: "value,headers",
        message: {
          key: "headers",
          value: "{",
          headers: { own: "y".repeat(20 * KIB), [REDRIVES_HEADER]: "7" },
        },
      },
      {
        lacks: "key,value,headers",
        message: { key: "k".repeat(20 * KIB), value: "{", headers: { own: "4" } },
      },
      // Compressed it fits the source topic, whose limit is 1 MiB.
      { lacks: "value", message: { key: "compressed", value: `{${"z".repeat(3 * KIB * KIB)}` } },
      // The error quotes the value.
      { lacks: "value", message: { key: "error", value: `{"${"\u{1f600}".repeat(3 * KIB)}` } },
    ];
    for (const { message } of bad) {
      good.push(await scene.seed({ batches: 1, partition: 0 }));
      const messages = [{ ...message, partition: 0 }];
      await producer.send({ topic: settings.TOPIC_SOURCE, messages, compression: CompressionTypes.GZIP });
    }
    good.push(await scene.seed({ batches: 1, partition: 0 }));

    await until("the good ones", () => good.every((id) => scene.completionsOf(id).length > 0));
    await until("the commit of all", async () => (await scene.committed()) === good.length + bad.length);
    await until("the letters", () => letters.length >= bad.length);
    assert.equal(letters.length, bad.length);
    for (const [i, { lacks, message }] of bad.entries()) {
      const offset = String(2 * i + 1);
      const letter = letters.find((own) => header(own, "offset") === offset);
      assert.ok(letter, `a letter for offset ${offset}`);
      assert.equal(header(letter, "without"), lacks);
      assert.equal(header(letter, "reason"), "invalid-json");
      assert.deepEqual([header(letter, "topic"), header(letter, "partition")], [settings.TOPIC_SOURCE, "0"]);
      const parts = new Set(lacks?.split(","));
      assert.equal(letter.key?.toString(), parts.has("key") ? undefined : message.key);
      assert.equal(letter.value?.toString(), parts.has("value") ? undefined : message.value);
      const kept =
        "own" in (message.headers ?? {}) && !parts.has("headers") ? { own: message.headers?.own } : {};
      const redrives = parts.has("headers") && lacks === "value,headers" ? { [REDRIVES_HEADER]: "7" } : {};
      assert.deepEqual(ownHeaders(letter.headers), { ...kept, ...redrives });
    }
    assert.equal(await Promise.race([worker.exited, "up"]), "up");

    // What is still bad comes back as it was: the originals were fetched.
    const { end, stdout } = await runRedrive(scene, { settings: env });
    assert.deepEqual(
      [end, stdout.at(-1)],
      [0, `${bad.length} messages went from ${env.TOPIC_DEAD_LETTERS} back to ${settings.TOPIC_SOURCE}`],
    );
    const source = await watchTopic(scene.kafka, settings.TOPIC_SOURCE);
    scene.resources.use(source);
    await until("all again", () => source.messages.length === good.length + 2 * bad.length);
    for (const { message } of bad) {
      const same = source.messages.filter(
        ({ key, value, headers }) =>
          key?.toString() === message.key &&
          value?.toString() === message.value &&
          JSON.stringify(ownHeaders(headers)) === JSON.stringify(message.headers ?? {}),
      );
      assert.equal(same.length, 2, `${message.key.slice(0, 20)} came back byte for byte`);
    }
    await until("their letters", () => letters.length === 2 * bad.length);
  });

  test("mode 31: a failed execution whose original was too large to keep is driven again with the original", async (t) => {
    const scene = await setScene(t);
    const failing = await scene.startWorker({ WORKFLOW_TIMEOUT_MS: "1" });
    const id = `large-${scene.settings.KAFKA_GROUP_ID}`;
    await scene.records.addRows(new Map([[id, scene.settings.BATCH_SIZE]]));
    const value = JSON.stringify([id, "x".repeat(64 * KIB)]);
    await scene.produce({ key: id, value, headers: { own: "1" } });
    const letter = await until("the letter", () => scene.deadLetters[0]);
    assert.equal(header(letter, "without"), "key,value,headers");
    failing.kill("SIGTERM");
    assert.equal(await failing.exited, 0);

    await scene.startWorker();
    const { stdout } = await runRedrive(scene);
    assert.equal(stdout[0], "execution-failed: 1");
    await until("the completion", () => scene.completionsOf(id).length > 0);
    const source = await watchTopic(scene.kafka, scene.settings.TOPIC_SOURCE);
    scene.resources.use(source);
    await until("both", () => source.messages.length === 2);
    for (const message of source.messages) {
      assert.equal(message.value?.toString(), value);
      assert.equal(message.key?.toString(), id);
    }
    assert.deepEqual(
      source.messages
        .map(({ headers }) => ownHeaders(headers))
        .sort((a, b) => Object.keys(a).length - Object.keys(b).length),
      [{ own: "1" }, { own: "1", [REDRIVES_HEADER]: "1" }],
    );
  });

  test("mode 31: a letter whose original is gone stays, is named and counted; the others go back", async (t) => {
    const scene = await setScene(t);
    const { kafka, settings } = scene;
    const topic = settings.TOPIC_SOURCE;
    const place = {
      [HEADERS.topic]: topic,
      [HEADERS.partition]: "0",
      [HEADERS.time]: new Date().toISOString(),
    };
    const lacking = { ...place, [HEADERS.reason]: "id-colon", [HEADERS.without]: "value" };
    const [ack] = await scene.producer.send({
      topic,
      messages: [0, 1, 2].map((n) => ({ key: `k${n}`, value: `v${n}`, partition: 0 })),
    });
    assert.equal(ack?.baseOffset, "0");
    if (!scene.embedded) {
      await withAdmin(kafka, async (admin) => {
        // kafkajs finds the leader in metadata that only this call loads.
        await admin.fetchTopicOffsets(topic);
        await admin.deleteTopicRecords({ topic, partitions: [{ partition: 0, offset: "1" }] });
      });
    }
    const letters = [
      // Deleted, where the broker can; not yet there; not the same message any more.
      ...(scene.embedded ? [] : [{ key: "k0", offset: "0" }]),
      { key: "k9", offset: "9" },
      { key: "another", offset: "2" },
    ];
    await scene.producer.send({
      topic: settings.TOPIC_DEAD_LETTERS,
      messages: [
        ...letters.map(({ key, offset }) => ({
          key,
          value: null,
          headers: { ...lacking, [HEADERS.offset]: offset },
        })),
        { key: "k1", value: null, headers: { ...lacking, [HEADERS.offset]: "1" } },
        {
          key: "whole",
          value: "w",
          headers: { ...place, [HEADERS.reason]: "id-colon", [HEADERS.offset]: "2" },
        },
      ],
    });
    const { end, stdout, stderr } = await runRedrive(scene);
    assert.equal(end, 0);
    assert.deepEqual(stdout, [
      "id-colon: 2",
      `${letters.length} messages stay in ${settings.TOPIC_DEAD_LETTERS}: they cannot be sent back`,
      `2 messages went from ${settings.TOPIC_DEAD_LETTERS} back to ${topic}`,
    ]);
    for (const { offset } of letters) {
      assert.ok(
        stderr.some((line) =>
          line.includes(`stays: its original is gone from topic ${topic}, partition 0, offset ${offset}`),
        ),
        `offset ${offset} is named`,
      );
    }
    const source = await watchTopic(kafka, topic);
    scene.resources.use(source);
    const left = scene.embedded ? 3 : 2;
    await until("the two", () => source.messages.length === left + 2);
    const back = source.messages.map(({ key, value }) => `${key}=${value}`);
    assert.equal(back.filter((one) => one === "k1=v1").length, 2);
    assert.equal(back.filter((one) => one === "whole=w").length, 1);
  });
});
