import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { connect, createServer } from "node:net";
import { suite, type TestContext, test } from "node:test";
import kafkajs, { type Message } from "kafkajs";
import { watchTopic } from "../../src/demo/watch-topic.ts";
import { withAdmin } from "../../src/kafka/topics.ts";
import { createBroker } from "../../src/stack/broker/broker.ts";
import { compressLikeJava, countDecompressed, produceControlRecords } from "../helpers/batches.ts";
import { countMessages } from "../helpers/count-messages.ts";
import { type DeletionScene, setScene } from "../helpers/deletion-scene.ts";
import { linesWith, partitionsOf, until, within } from "../helpers/scene.ts";

const { CompressionTypes } = kafkajs;

/** Adds rows for records and gives back messages that name them. */
const prepare = async ({ records, settings }: DeletionScene, names: readonly string[]) => {
  const ids = names.map((name) => `${name}-${settings.KAFKA_GROUP_ID}`);
  await records.addRows(new Map(ids.map((id) => [id, settings.BATCH_SIZE])));
  return { ids, messages: ids.map((id): Message => ({ key: id, value: id, partition: 0 })) };
};

const untilCompleted = (scene: DeletionScene, ids: readonly string[], ms?: number) =>
  until("all completions", () => ids.every((id) => scene.completionsOf(id).length > 0), ms);

const untilNoLag = async ({ kafka, settings, committed }: DeletionScene) =>
  until(
    "a lag of 0",
    async () => (await committed()) === (await countMessages(kafka, settings.TOPIC_SOURCE)),
  );

const noKcat = spawnSync("kcat", ["-V"]).error && "no kcat here";

suite("Kafka as it is", { concurrency: 3 }, () => {
  test("mode 41: batches that other producers compressed with gzip, snappy, lz4 or zstd are worked on", async (t) => {
    const scene = await setScene(t);
    const { kafka, producer, settings } = scene;
    const counts = (["GZIP", "Snappy", "LZ4", "ZSTD"] as const).map((name) => ({
      name,
      counted: countDecompressed(CompressionTypes[name]),
    }));
    const worker = await scene.startWorker();
    const all: string[] = [];
    for (const { name } of counts) {
      const { ids, messages } = await prepare(
        scene,
        [1, 2, 3].map((n) => `${name}-${n}`),
      );
      await producer.send({ topic: settings.TOPIC_SOURCE, messages, compression: CompressionTypes[name] });
      all.push(...ids);
    }
    const java = await prepare(
      scene,
      [1, 2, 3].map((n) => `java-${n}`),
    );
    const codec = kafkajs.CompressionCodecs[CompressionTypes.Snappy]();
    kafkajs.CompressionCodecs[CompressionTypes.Snappy] = () => ({
      ...codec,
      compress: async ({ buffer }: { buffer: Buffer }) => compressLikeJava(buffer),
    });
    await producer.send({
      topic: settings.TOPIC_SOURCE,
      messages: java.messages,
      compression: CompressionTypes.Snappy,
    });
    kafkajs.CompressionCodecs[CompressionTypes.Snappy] = () => codec;
    all.push(...java.ids);

    await untilCompleted(scene, all);
    await untilNoLag(scene);
    const source = await watchTopic(kafka, settings.TOPIC_SOURCE);
    scene.resources.use(source);
    await until("the source", () => source.messages.length === all.length);
    for (const { name, counted } of counts) assert.ok(counted.batches > 0, `a ${name} batch is in the topic`);
    assert.deepEqual(linesWith(worker, "rror"), []);
  });

  test("mode 41: the same with librdkafka as producer", { skip: noKcat }, async (t) => {
    const scene = await setScene(t);
    await scene.startWorker();
    const all: string[] = [];
    for (const name of ["gzip", "snappy", "lz4", "zstd"]) {
      const { ids } = await prepare(
        scene,
        Array.from({ length: 5 }, (_, n) => `${name}-${n}`),
      );
      const target = ["-b", scene.env.KAFKA_BROKERS ?? "", "-t", scene.settings.TOPIC_SOURCE, "-p", "0"];
      const kcat = spawn("kcat", ["-P", ...target, "-z", name, "-X", "linger.ms=200"]);
      kcat.stdin.end(`${ids.join("\n")}\n`);
      assert.deepEqual(await once(kcat, "exit"), [0, null]);
      all.push(...ids);
    }
    await untilCompleted(scene, all);
    await untilNoLag(scene);
  });

  test("mode 41: a worker without the optional package for lz4 ends with a line that says so, and commits nothing", async (t) => {
    const scene = await setScene(t);
    const hide = `import { registerHooks } from "node:module";
      registerHooks({ resolve: (name, context, next) => next(name === "lz4-napi" ? "not-installed" : name, context) });`;
    const worker = await scene.startWorker({
      NODE_OPTIONS: `--import=data:text/javascript;base64,${Buffer.from(hide).toString("base64")}`,
    });
    const { messages } = await prepare(scene, ["lz4"]);
    const compression = CompressionTypes.LZ4;
    await scene.producer.send({ topic: scene.settings.TOPIC_SOURCE, messages, compression });
    assert.equal(await within("the end of the worker", worker.exited), 1);
    const reason = /^expected package lz4-napi, .*'npm install lz4-napi' adds it$/;
    assert.equal(worker.lines.filter((line) => reason.test(line)).length, 1);
    assert.equal(await scene.committed(), 0);
  });

  test("mode 42: control records and aborted messages leave no lag, and what was aborted does not run", async (t) => {
    const scene = await setScene(t);
    const { kafka, settings, embedded } = scene;
    await scene.startWorker();
    const committedOnes = await prepare(scene, ["first", "second"]);
    const abortedOnes = await prepare(scene, ["aborted-1", "aborted-2"]);
    const topic = settings.TOPIC_SOURCE;
    if (embedded) {
      await scene.produce(...committedOnes.messages);
      await untilCompleted(scene, committedOnes.ids);
      await untilNoLag(scene);
      await produceControlRecords(embedded.kafkaPort, { topic, partition: 0, count: 4 });
    } else {
      const transactionalId = `tx-${settings.KAFKA_GROUP_ID}`;
      const producer = kafka.producer({ transactionalId, maxInFlightRequests: 1, idempotent: true });
      await producer.connect();
      scene.resources.defer(() => producer.disconnect());
      for (const { messages, end } of [
        { messages: committedOnes.messages, end: "commit" },
        { messages: abortedOnes.messages, end: "abort" },
        { messages: abortedOnes.messages, end: "abort" },
      ] as const) {
        const transaction = await producer.transaction();
        await transaction.send({ topic, messages });
        await transaction[end]();
        await untilNoLag(scene);
      }
    }
    await untilCompleted(scene, committedOnes.ids);
    await untilNoLag(scene);
    const messages = committedOnes.ids.length + (embedded ? 0 : 2 * abortedOnes.ids.length);
    assert.ok((await scene.committed()) > messages, "control records stand behind the messages");
    for (const id of abortedOnes.ids) assert.equal(await scene.batchesOf(id), 0);
    const after = await prepare(scene, ["after"]);
    await scene.produce(...after.messages);
    await untilCompleted(scene, after.ids);
    await untilNoLag(scene);
  });

  test("mode 43: partitions that are added are read within 30 s", async (t) => {
    const scene = await setScene(t);
    const { kafka, producer, settings } = scene;
    const worker = await scene.startWorker();
    assert.deepEqual(partitionsOf(worker), [0, 1]);
    await withAdmin(kafka, (admin) =>
      admin.createPartitions({ topicPartitions: [{ topic: settings.TOPIC_SOURCE, count: 4 }] }),
    );
    const { ids, messages } = await prepare(scene, ["new-1", "new-2"]);
    await until("a producer that knows the new ones", async () => {
      const all = messages.map((message, i) => ({ ...message, partition: 2 + i }));
      return producer.send({ topic: settings.TOPIC_SOURCE, messages: all }).catch(() => undefined);
    });
    await untilCompleted(scene, ids, 30_000);
    assert.deepEqual(partitionsOf(worker).sort(), [0, 1, 2, 3]);
  });

  test("mode 43: a topic that is deleted is made again with the wanted partitions, and read", async (t) => {
    const scene = await setScene(t);
    const { kafka, settings } = scene;
    const worker = await scene.startWorker();
    const before = await prepare(scene, ["before"]);
    await scene.produce(...before.messages);
    await untilCompleted(scene, before.ids);
    await withAdmin(kafka, (admin) => admin.deleteTopics({ topics: [settings.TOPIC_SOURCE] }));
    await withAdmin(kafka, async (admin) => {
      const isGone = async () => !(await admin.listTopics()).includes(settings.TOPIC_SOURCE);
      await until("the topic to be gone", isGone);
      await until("the topic to be back", async () => !(await isGone()));
      const { topics } = await admin.fetchTopicMetadata({ topics: [settings.TOPIC_SOURCE] });
      assert.equal(topics[0]?.partitions.length, 2);
    });
    const after = await prepare(scene, ["after"]);
    await until("a producer that finds it", () =>
      scene.produce(...after.messages).then(
        () => true,
        () => false,
      ),
    );
    await untilCompleted(scene, after.ids);
    assert.equal(await Promise.race([worker.exited, "up"]), "up");
  });

  test("mode 43: a topic that another program deletes and makes again is read from its first message", async (t) => {
    const scene = await setScene(t);
    const { kafka, settings } = scene;
    await scene.startWorker();
    const topic = settings.TOPIC_SOURCE;
    const spread = (messages: readonly Message[]) =>
      messages.map((message, i) => ({ ...message, partition: i % 2 }));
    const before = await prepare(
      scene,
      Array.from({ length: 8 }, (_, i) => `before-${i}`),
    );
    await scene.produce(...spread(before.messages));
    await untilCompleted(scene, before.ids);
    const after = await prepare(
      scene,
      Array.from({ length: 40 }, (_, i) => `after-${i}`),
    );
    await withAdmin(kafka, async (admin) => {
      await admin.deleteTopics({ topics: [topic] });
      await until("the topic to be made again", () =>
        admin
          .createTopics({ topics: [{ topic, numPartitions: 2 }], waitForLeaders: false })
          .catch(() => false),
      );
    });
    await until("a producer that finds it", () =>
      scene.produce(...spread(after.messages)).then(
        () => true,
        () => false,
      ),
    );
    await untilCompleted(scene, after.ids);
  });

  test("mode 43: topics for completions and dead letters that are deleted are made again, and written to", async (t) => {
    const scene = await setScene(t);
    const { kafka, settings } = scene;
    const worker = await scene.startWorker();
    await untilCompleted(scene, [await scene.seed({ batches: 1 })]);
    const topics = [settings.TOPIC_COMPLETIONS, settings.TOPIC_DEAD_LETTERS];
    await withAdmin(kafka, (admin) => admin.deleteTopics({ topics }));
    await scene.produce({ key: null, value: "" });
    await scene.seed({ batches: 1 });
    for (const topic of topics)
      await until(
        `a message in ${topic}`,
        async () => (await countMessages(kafka, topic).catch(() => 0)) > 0,
      );
    assert.equal(await Promise.race([worker.exited, "up"]), "up");
  });

  test("mode 43: a broker that comes back without its state has its topics again, each with the wanted partitions", async (t) => {
    const scene = await setScene(t);
    const { embedded, settings, kafka } = scene;
    if (!embedded) return t.skip("a real broker keeps its state");
    const worker = await scene.startWorker();
    await embedded.broker.stop();
    // It makes topics that clients ask for, as `npm run stack` does, with one partition.
    const empty = createBroker({ autoCreateTopics: true });
    scene.resources.defer(() => empty.stop());
    await empty.listen({ port: embedded.kafkaPort });
    await withAdmin(kafka, async (admin) => {
      const names = [settings.TOPIC_SOURCE, settings.TOPIC_COMPLETIONS, settings.TOPIC_DEAD_LETTERS];
      await until("all topics", async () => {
        const listed = await admin.listTopics();
        return names.every((name) => listed.includes(name));
      });
      const { topics } = await admin.fetchTopicMetadata({ topics: [settings.TOPIC_SOURCE] });
      assert.equal(topics[0]?.partitions.length, 2);
    });
    const { ids, messages } = await prepare(scene, ["after"]);
    await scene.produce(...messages);
    await until("the record to be deleted", async () =>
      (await Promise.all(ids.map(scene.batchesOf))).every((batches) => batches === 1),
    );
    assert.equal(await Promise.race([worker.exited, "up"]), "up");
  });

  test("mode 43: a topic with fewer partitions than wanted is named at the start, in one line", async (t) => {
    const scene = await setScene(t, { TOPIC_PARTITIONS: "1" });
    const worker = await scene.startWorker({ TOPIC_PARTITIONS: "3" });
    const lines = linesWith(worker, "TOPIC_PARTITIONS");
    assert.equal(lines.length, 1);
    assert.match(lines[0] ?? "", new RegExp(`${scene.settings.TOPIC_SOURCE} has 1`));
  });

  /** Listens at ::1, as a broker that is reached by IPv6 alone. */
  const listenOnIpv6 = async (t: TestContext, target: string): Promise<string> => {
    const { hostname, port: targetPort } = new URL(`tcp://${target}`);
    const server = createServer((client) => {
      const broker = connect({ host: hostname, port: Number(targetPort) });
      client.on("error", () => broker.destroy());
      broker.on("error", () => client.destroy());
      client.pipe(broker).pipe(client);
    });
    server.listen(0, "::1");
    await once(server, "listening");
    t.after(() => server.close());
    const address = server.address();
    assert.ok(typeof address === "object" && address !== null);
    return `[::1]:${address.port}`;
  };

  test("mode 44: a broker at an IPv6 address is reached", async (t) => {
    const scene = await setScene(t);
    const address = await listenOnIpv6(t, scene.env.KAFKA_BROKERS ?? "");
    const worker = await scene.startWorker({ KAFKA_BROKERS: address });
    assert.equal(linesWith(worker, address).length > 0, true, "the worker says where its broker is");
    const id = await scene.seed({ batches: 1 });
    await untilCompleted(scene, [id]);
  });

  test("mode 44: a broker that gives an IPv6 address as its own is reached", { skip: noKcat }, async (t) => {
    const scene = await setScene(t);
    if (!scene.embedded) return t.skip("a real broker gives the address it was set up with");
    const { broker } = scene.embedded;
    await broker.stop();
    const { host, port } = await broker.listen({ port: scene.embedded.kafkaPort, host: "::1" });
    assert.equal(host, "::1");
    await scene.startWorker({ KAFKA_BROKERS: `[::1]:${port}` });
    // The test's own clients know the broker by its old address, and where that has gone.
    await scene.records.addRows(new Map([["by-ipv6", scene.settings.BATCH_SIZE]]));
    const seeded = spawn("kcat", ["-P", "-b", `[::1]:${port}`, "-t", scene.settings.TOPIC_SOURCE]);
    seeded.stdin.end("by-ipv6\n");
    await once(seeded, "exit");
    await until("the record to be deleted", async () => (await scene.batchesOf("by-ipv6")) === 1);
  });

  test("mode 44: a member of the group that reads another topic takes none of the source's partitions", async (t) => {
    const scene = await setScene(t, { TOPIC_PARTITIONS: "4" });
    const { kafka, settings } = scene;
    const other = `other-${settings.KAFKA_GROUP_ID}`;
    await withAdmin(kafka, (admin) => admin.createTopics({ topics: [{ topic: other, numPartitions: 2 }] }));
    const worker = await scene.startWorker();
    // kafkajs's own assigner, as in a release before this one: it joins last, so it does not lead.
    const stranger = kafka.consumer({ groupId: settings.KAFKA_GROUP_ID, sessionTimeout: 6000 });
    scene.resources.defer(() => stranger.disconnect());
    const own = { partitions: [] as number[], joins: 0 };
    stranger.on(stranger.events.GROUP_JOIN, ({ payload }) => {
      own.partitions = payload.memberAssignment[other] ?? [];
      own.joins += 1;
    });
    await stranger.connect();
    await stranger.subscribe({ topic: other });
    await stranger.run({ eachMessage: async () => {} });
    await until(
      "both have joined",
      () => own.joins > 0 && linesWith(worker, "joined consumer group").length > 1,
    );
    assert.deepEqual(partitionsOf(worker).sort(), [0, 1, 2, 3]);
    assert.deepEqual(own.partitions.sort(), [0, 1]);
    const ids = await Promise.all([0, 1, 2, 3].map((partition) => scene.seed({ batches: 1, partition })));
    await untilCompleted(scene, ids);
  });
});
