import assert from "node:assert/strict";
import { connect, type Socket } from "node:net";
import { type TestContext, test } from "node:test";
import { setImmediate } from "node:timers/promises";
import { Kafka, logLevel } from "kafkajs";
import { type ConsumerOptions, startConsumer } from "../../src/worker/consumer.ts";
import { createMemoryLog } from "../helpers/unit-log.ts";
import {
  connectAdmin,
  connectProducer,
  createTopic,
  startEmbedded,
  startConsumer as startMember,
} from "../stack/broker-client.ts";
import { afterwards, eventually, randomName } from "../stack/contract.ts";

/** In the Kafka protocol: looks for a group's coordinator. */
const FIND_COORDINATOR = 10;
/** The key of a request stands behind its length. */
const API_KEY_OFFSET = 4;

/** A client of an embedded broker. While `isCut`, its connections close as it looks for a group's coordinator. */
const setUp = async (t: TestContext) => {
  const { kafka: direct, port } = await startEmbedded(t);
  const topic = await createTopic(await connectAdmin(t, direct), 2);
  const producer = await connectProducer(t, direct);
  const sockets = new Set<Socket>();
  const network = { isCut: false, cuts: 0 };
  const kafka = new Kafka({
    brokers: [`127.0.0.1:${port}`],
    logLevel: logLevel.NOTHING,
    retry: { initialRetryTime: 50 },
    socketFactory: ({ host, port, onConnect }) => {
      const socket = connect(port, host, onConnect);
      sockets.add(socket);
      const write = socket.write.bind(socket);
      socket.write = (bytes: Uint8Array | string) => {
        const isLooking = Buffer.from(bytes).readInt16BE(API_KEY_OFFSET) === FIND_COORDINATOR;
        if (!network.isCut || !isLooking) return write(bytes);
        network.cuts += 1;
        for (const own of sockets) own.destroy(new Error("read ECONNRESET"));
        return false;
      };
      return socket;
    },
  });
  const log = createMemoryLog();
  const dispatched: string[] = [];
  const stopping = new AbortController();
  const options: ConsumerOptions = {
    kafka,
    groupId: randomName("group"),
    topic,
    sessionTimeoutMs: 2000,
    concurrency: 1,
    dispatch: async ({ value }) => void dispatched.push(String(value)),
    restoreTopics: async () => {},
    log,
    signal: stopping.signal,
  };
  /** Sends a message to each partition and waits until this consumer has one of them. */
  const produce = async (value: string) => {
    await producer.send({ topic, messages: [0, 1].map((partition) => ({ partition, value })) });
    await eventually(`${value} to be dispatched`, () => dispatched.includes(value));
  };
  return { network, log, options, produce, stopping, direct };
};

const NO_COORDINATOR = /^error nothing is consumed, trying on: .*Failed to find group coordinator/;

test("connections that are cut as the group's coordinator is looked for end no consumer: it tries on", async (t) => {
  const { network, log, options, produce, direct } = await setUp(t);
  network.isCut = true;
  const starting = startConsumer(options);
  await eventually("a line", () => log.lines.length > 0);
  assert.match(log.lines[0] ?? "", NO_COORDINATOR);
  network.isCut = false;
  const consumer = await starting;
  afterwards(t, () => consumer.stop());
  await produce("first");

  const [lines, cuts] = [log.lines.length, network.cuts];
  network.isCut = true;
  // A member that comes makes the others join again.
  const { groupId, topic, sessionTimeoutMs } = options;
  await startMember(t, direct, topic, { groupId, sessionTimeout: sessionTimeoutMs });
  const isTold = () => log.lines.slice(lines).some((line) => NO_COORDINATOR.test(line));
  await eventually("a line about the second time", isTold);
  assert.ok(network.cuts > cuts);
  network.isCut = false;
  // Until then the other member has both partitions.
  await eventually("to join anew", () => /joined consumer group .*: [01]$/.test(log.lines.at(-1) ?? ""));
  await produce("second");
  const isDead = consumer.failed.catch(() => "dead");
  assert.equal(await Promise.race([isDead, setImmediate("alive")]), "alive");
});

test("a stop ends the tries to join", async (t) => {
  const { network, log, options, stopping } = await setUp(t);
  network.isCut = true;
  const starting = startConsumer(options);
  starting.catch(() => {});
  await eventually("a line", () => log.lines.length > 0);
  const reason = new Error("stopped");
  stopping.abort(reason);
  await assert.rejects(starting, reason);
});
