/** The part of the contract (see `broker-contract.test.ts`) that concerns consumer groups. */
import assert from "node:assert/strict";
import { test } from "node:test";
import {
  connectAdmin,
  connectProducer,
  createKafka,
  createTopic,
  distinct,
  startBrokers,
  startConsumer,
} from "./broker-client.ts";
import { afterwards, eventually, randomName } from "./contract.ts";

test("two consumers share the partitions; what one leaves the other takes over", async (t) => {
  const kafka = createKafka(await startBrokers(t));
  const topic = await createTopic(await connectAdmin(t, kafka), 4);
  const producer = await connectProducer(t, kafka);
  const config = { groupId: randomName("group") };
  const [a, b] = await Promise.all([
    startConsumer(t, kafka, topic, config),
    startConsumer(t, kafka, topic, config),
  ]);
  await eventually("each has two", () => a.assigned.length === 2 && b.assigned.length === 2);
  assert.deepEqual([...a.assigned, ...b.assigned].sort(), [0, 1, 2, 3]);

  const send = () =>
    producer.send({
      topic,
      messages: Array.from({ length: 40 }, (_, n) => ({ key: `${n}`, value: `${n}` })),
    });
  await send();
  await eventually("40 read between them", () => distinct([...a.messages, ...b.messages]) === 40);
  assert.ok(a.messages.every(({ partition }) => a.assigned.includes(partition)));

  await b.consumer.disconnect();
  await eventually("the one left has all", () => a.assigned.length === 4);
  await send();
  await eventually("40 more read by it alone", () => distinct([...a.messages, ...b.messages]) === 80);
});

test("a member that falls silent loses its partitions after its session timeout", async (t) => {
  const kafka = createKafka(await startBrokers(t));
  const topic = await createTopic(await connectAdmin(t, kafka), 2);
  const producer = await connectProducer(t, kafka);
  const config = { groupId: randomName("group") };
  const handler = Promise.withResolvers<void>();
  const silent = await startConsumer(t, kafka, topic, config, () => handler.promise);
  afterwards(t, handler.resolve); // kafkajs waits for its handler before it disconnects
  await eventually("it has both", () => silent.assigned.length === 2);
  await producer.send({ topic, messages: [{ key: "k", value: "v" }] });
  await eventually("it hangs in its handler, without heartbeats", () => silent.messages.length === 1);

  const other = await startConsumer(t, kafka, topic, config);
  await eventually("the other has both", () => other.assigned.length === 2);
  await eventually("the message that was never committed comes again", () => other.messages.length === 1);
  handler.resolve();
  await eventually(
    "the silent one is back and they share",
    () => silent.joins > 1 && other.assigned.length === 1,
  );
});

test("a consumer goes on from the committed offset", async (t) => {
  const kafka = createKafka(await startBrokers(t));
  const admin = await connectAdmin(t, kafka);
  const topic = await createTopic(admin);
  const producer = await connectProducer(t, kafka);
  const groupId = randomName("group");
  const messages = Array.from({ length: 10 }, (_, n) => ({ value: String(n) }));
  await producer.send({ topic, messages });

  const first = await startConsumer(t, kafka, topic, { groupId });
  await eventually("all read", () => first.messages.length === 10);
  await first.consumer.commitOffsets([{ topic, partition: 0, offset: "4", metadata: "note" }]);
  const committed = await admin.fetchOffsets({ groupId, topics: [topic] });
  assert.deepEqual(committed, [{ topic, partitions: [{ partition: 0, offset: "4", metadata: "note" }] }]);
  await first.consumer.disconnect();

  await admin.setOffsets({ groupId, topic, partitions: [{ partition: 0, offset: "7" }] });
  const everything = await admin.fetchOffsets({ groupId });
  assert.equal(everything.find((entry) => entry.topic === topic)?.partitions[0]?.offset, "7");
  const second = await startConsumer(t, kafka, topic, { groupId });
  await eventually("the rest read", () => second.messages.length === 3);
  assert.equal(second.messages[0]?.offset, "7");
});

test("groups are listed, described and deleted when empty", async (t) => {
  const kafka = createKafka(await startBrokers(t));
  const admin = await connectAdmin(t, kafka);
  const topic = await createTopic(admin);
  const groupId = randomName("group");
  const nonEmptyGroup = (error: { groups?: { errorCode?: number }[] }) => error.groups?.[0]?.errorCode === 68;
  const describe = async () => (await admin.describeGroups([groupId])).groups[0];
  assert.equal((await describe())?.state, "Dead");

  const { consumer } = await startConsumer(t, kafka, topic, { groupId });
  await eventually("the group is stable", async () => (await describe())?.state === "Stable");
  const stable = await describe();
  assert.equal(stable?.protocolType, "consumer");
  assert.equal(stable?.protocol, "RoundRobinAssigner");
  assert.equal(stable?.members.length, 1);
  assert.ok((await admin.listGroups()).groups.some((group) => group.groupId === groupId));
  await assert.rejects(admin.deleteGroups([groupId]), nonEmptyGroup);

  await consumer.disconnect();
  await eventually("the group is empty", async () => (await describe())?.state === "Empty");
  await admin.deleteGroups([groupId]);
  assert.equal((await describe())?.state, "Dead");
});
