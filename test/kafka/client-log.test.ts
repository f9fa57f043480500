import assert from "node:assert/strict";
import { test } from "node:test";
import { type LogEntry, logLevel } from "kafkajs";
import { createKafka } from "../../src/kafka/client.ts";
import { createClientLog } from "../../src/kafka/client-log.ts";
import { createBroker } from "../../src/stack/broker/broker.ts";
import { until } from "../helpers/scene.ts";
import { createMemoryLog } from "../helpers/unit-log.ts";

const build = () => {
  const log = createMemoryLog();
  const clock = { now: 0 };
  const write = createClientLog(log, () => clock.now).logCreator(logLevel.WARN);
  const entry = (message: string, extra: object = {}, level = logLevel.ERROR): LogEntry => ({
    namespace: "Connection",
    level,
    label: "ERROR",
    log: { timestamp: "", message, ...extra },
  });
  return { log, clock, say: (...of: Parameters<typeof entry>) => write(entry(...of)) };
};

test("rebalances, heartbeats and tries that are made again are not shown as trouble", () => {
  const { log, say } = build();
  for (const [message, error] of [
    ["The group is rebalancing, re-joining", "The group is rebalancing, so a rejoin is needed"],
    [
      "The coordinator is not aware of this member, re-joining the group",
      "The coordinator is not aware of this member",
    ],
    ["Response Heartbeat(key: 12, version: 3)", "The group is rebalancing, so a rejoin is needed"],
    ["Response JoinGroup(key: 11, version: 5)", "The coordinator is not aware of this member"],
    ["Error when calling eachBatch", "Specified group generation id is not valid"],
    ["Failed to connect to seed broker, trying another broker from the list: refused", undefined],
    ["Failed to send messages: Closed connection", undefined],
    ["Restarting the consumer in 300ms", undefined],
  ] as const)
    say(message, { error });
  assert.deepEqual(log.lines, []);
});

test("what else it says is a line, an error where it is one", () => {
  const { log, say } = build();
  say("Offset out of range, resetting to default offset", { error: "x" });
  say("Consumer group received unsubscribed topics", {}, logLevel.WARN);
  assert.deepEqual(log.lines, [
    "error kafka: Offset out of range, resetting to default offset (x)",
    "warn kafka: Consumer group received unsubscribed topics",
  ]);
});

test("a broker that is away is one line, however often it is tried, and what follows from it is none", () => {
  const { log, clock, say } = build();
  for (let i = 0; i < 20; i++) {
    clock.now = i * 300;
    say("Connection error: connect ECONNREFUSED", { broker: "host:1" });
    say("Connection timeout", { broker: "host:2" });
  }
  say("Crash: KafkaJSNumberOfRetriesExceeded: Connection error");
  assert.deepEqual(log.lines, [
    "warn Kafka broker at host:1 cannot be reached, trying on: Connection error: connect ECONNREFUSED",
    "warn Kafka broker at host:2 cannot be reached, trying on: Connection timeout",
  ]);
});

test("a client says once that its broker is away, and once that it is back", async (t) => {
  const broker = createBroker();
  t.after(() => broker.stop());
  const { host, port } = await broker.listen({ port: 0 });
  const log = createMemoryLog();
  const settings = { KAFKA_BROKERS: [`${host}:${port}`] };
  const admin = createKafka(settings, { clientId: "test", log, retries: 0 }).admin();
  await admin.connect();
  t.after(() => admin.disconnect());
  await admin.listTopics();
  await broker.stop();
  await until("the line", async () => {
    await admin.listTopics().catch(() => {});
    return log.lines.length > 0;
  });
  await assert.rejects(admin.listTopics());
  await broker.listen({ host, port });
  await until("the broker", () =>
    admin.listTopics().then(
      () => true,
      () => false,
    ),
  );
  await admin.listTopics();
  assert.equal(log.lines.length, 2, log.lines.join("\n"));
  assert.match(
    log.lines[0] ?? "",
    new RegExp(`^warn Kafka broker at ${host}:${port} cannot be reached, trying on: `),
  );
  assert.match(
    log.lines[1] ?? "",
    new RegExp(`^info Kafka broker at ${host}:${port} is back again, after \\d+ s$`),
  );
});
