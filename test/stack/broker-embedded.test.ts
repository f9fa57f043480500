/** How the embedded broker stops, starts and bears faults. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createServer } from "node:net";
import { test } from "node:test";
import { createBroker } from "../../src/stack/broker/broker.ts";
import {
  connectAdmin,
  connectProducer,
  createTopic,
  distinct,
  startConsumer,
  startEmbedded,
} from "./broker-client.ts";
import { connectRaw } from "./broker-wire.ts";
import { afterwards, eventually, randomName } from "./contract.ts";

test("a restart keeps logs and committed offsets, and clients go on by themselves", async (t) => {
  const { broker, port, kafka } = await startEmbedded(t);
  const topic = await createTopic(await connectAdmin(t, kafka));
  const producer = await connectProducer(t, kafka);
  const groupId = randomName("group");
  await producer.send({ topic, messages: [{ value: "before" }] });
  const running = await startConsumer(t, kafka, topic, { groupId });
  await eventually("read", () => running.messages.length === 1);
  await running.consumer.commitOffsets([{ topic, partition: 0, offset: "1" }]);

  await broker.stop();
  await broker.stop();
  await broker.listen({ port });
  await eventually("the consumer has joined again", () => running.joins === 2);
  const [sent] = await producer.send({ topic, messages: [{ value: "after" }] });
  assert.equal(sent?.baseOffset, "1");
  await eventually("read on", () => running.messages.length === 2);
  assert.equal(running.messages[1]?.value?.toString(), "after");
});

test("dropped connections are made anew", async (t) => {
  const { broker, kafka } = await startEmbedded(t);
  const topic = await createTopic(await connectAdmin(t, kafka));
  const producer = await connectProducer(t, kafka);
  const running = await startConsumer(t, kafka, topic, { groupId: randomName("group") });
  await eventually("joined", () => running.joins === 1);
  for (let round = 1; round <= 3; round++) {
    assert.ok(broker.dropConnections() > 0);
    await producer.send({ topic, messages: [{ value: String(round) }] });
    // A message may be read twice, if the connection went before its offset was committed.
    await eventually("read", () => distinct(running.messages) === round);
  }
});

test("a taken port rejects, and so does listening twice", async (t) => {
  const squatter = createServer().listen(0, "127.0.0.1");
  afterwards(t, () => squatter.close());
  await once(squatter, "listening");
  const address = squatter.address();
  assert.ok(typeof address === "object" && address !== null);
  const broker = createBroker();
  afterwards(t, () => broker.stop());
  await assert.rejects(broker.listen({ port: address.port }), { code: "EADDRINUSE" });
  await broker.listen({ port: 0 });
  await assert.rejects(broker.listen({ port: 0 }), /already/);
});

test("garbage costs its sender the connection and disturbs nobody else", async (t) => {
  const complaints: string[] = [];
  const { port, kafka } = await startEmbedded(t, { logger: (message) => complaints.push(message) });
  const topic = await createTopic(await connectAdmin(t, kafka));
  const producer = await connectProducer(t, kafka);
  const { messages } = await startConsumer(t, kafka, topic, { groupId: randomName("group") });

  const frame = (body: Buffer, length = body.length) => {
    const size = Buffer.alloc(4);
    size.writeInt32BE(length);
    return Buffer.concat([size, body]);
  };
  const request = (key: number, version: number, hex: string) => {
    const header = Buffer.from("0000000000000001ffff", "hex"); // key, version, correlation id, no client id
    header.writeInt16BE(key, 0);
    header.writeInt16BE(version, 2);
    return frame(Buffer.concat([header, Buffer.from(hex, "hex")]));
  };
  const spoken: [number, number][] = [
    [0, 3],
    [1, 4],
    [2, 1],
    [3, 1],
    [8, 2],
    [9, 1],
    [10, 0],
    [11, 2],
    [12, 0],
    [13, 0],
    [14, 0],
    [15, 0],
    [19, 2],
    [20, 1],
    [22, 0],
    [42, 0],
  ];
  const garbage = [
    frame(Buffer.alloc(0)),
    frame(Buffer.alloc(0), -1),
    frame(Buffer.alloc(0), 0x7fffffff),
    frame(Buffer.from("00")),
    request(999, 0, ""),
    request(-1, 0, ""),
    request(0, 99, ""),
    request(3, 1, "7fffffff"), // an array of two billion topics
    request(12, 0, "0002c328"), // a group id that is not UTF-8
    ...spoken.map(([key, version]) => request(key, version, "")),
    ...spoken.map(([key, version]) => request(key, version, "0001")),
  ];
  for (const [index, bytes] of garbage.entries()) {
    const raw = await connectRaw(t, port);
    raw.socket.write(bytes);
    await raw.closed;
    await producer.send({ topic, messages: [{ value: String(index) }] });
  }
  assert.ok(complaints.length >= garbage.length);

  // Random bytes behind sound lengths and headers: whether they end the connection is chance, that is all they may.
  let seed = 1;
  const random = () => {
    seed = (seed * 48_271) % 0x7fffffff;
    return seed;
  };
  for (let round = 0; round < 300; round++) {
    const raw = await connectRaw(t, port);
    const [key, version] = spoken[random() % spoken.length] ?? [0, 3];
    const body = Buffer.from(
      Array.from({ length: random() % 60 }, () => (random() % 3 ? 0 : random() % 256)),
    );
    raw.socket.removeAllListeners("data");
    raw.socket.end(request(key, version, body.toString("hex")));
  }
  // A frame that never ends holds its connection and nothing else.
  (await connectRaw(t, port)).socket.write(frame(Buffer.alloc(1000), 100_000_000));

  await producer.send({ topic, messages: [{ value: "last" }] });
  await eventually("all read", () => messages.length === garbage.length + 1);
  assert.equal(messages.at(-1)?.value?.toString(), "last");
});

test("a stopped broker leaves nothing behind that would keep a process alive", async () => {
  const script = `
    import { createBroker } from ${JSON.stringify(import.meta.resolve("../../src/stack/broker/broker.ts"))};
    import { Writer } from ${JSON.stringify(import.meta.resolve("../../src/stack/broker/codec.ts"))};
    import { connect } from "node:net";
    const broker = createBroker();
    const { port } = await broker.listen({ port: 0 });
    const send = (key, version, write) => {
      const message = new Writer().int16(key).int16(version).int32(1).string("x");
      write(message);
      const socket = connect(port, "127.0.0.1", () => socket.write(message.frame()));
      socket.on("error", () => {});
      return socket;
    };
    // A member, a second one that has to wait for the first to join again, and a fetch: all with half an hour's patience.
    const join = (body) =>
      body.string("g").int32(1_800_000).int32(1_800_000).string("").string("consumer").int32(1).string("p").int32(0);
    await new Promise((resolve) => send(11, 2, join).once("data", resolve));
    await new Promise((resolve) => send(3, 1, (body) => body.int32(1).string("t")).once("data", resolve));
    send(11, 2, join);
    send(1, 4, (body) => {
      body.int32(-1).int32(1_800_000).int32(1).int32(1000).int8(0);
      body.int32(1).string("t").int32(1).int32(0).int64(0n).int32(1000);
    });
    // Two sessions, a rebalance and a fetch are being timed.
    const timers = () => process.getActiveResourcesInfo().filter((name) => name === "Timeout").length;
    while (timers() < 4) await new Promise(setImmediate);
    await broker.stop();
    console.log("stopped");
  `;
  const child = spawn(process.execPath, ["--input-type=module", "-e", script], {
    stdio: ["ignore", "pipe", "inherit"],
    signal: AbortSignal.timeout(10_000),
  });
  let output = "";
  child.stdout.on("data", (chunk) => {
    output += chunk;
  });
  const [code] = await once(child, "close");
  assert.deepEqual([code, output], [0, "stopped\n"]);
});
