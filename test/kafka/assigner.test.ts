import assert from "node:assert/strict";
import { test } from "node:test";
import kafkajs, { type PartitionAssigner } from "kafkajs";
import { roundRobinAmongSubscribers } from "../../src/kafka/assigner.ts";

const { MemberAssignment, MemberMetadata } = kafkajs.AssignerProtocol;

type Config = Parameters<PartitionAssigner>[0];

/** A cluster whose leader knows `own` topics, and whose brokers know `others` as well: partitions by topic. */
const createConfig = (own: Record<string, number>, others: Record<string, number> = {}) => {
  const toMetadata = (count = 0) => Array.from({ length: count }, (_, partitionId) => ({ partitionId }));
  const asked: string[] = [];
  const broker = {
    metadata: async ([topic = ""]: string[]) => {
      asked.push(topic);
      if (!(topic in others)) throw new Error("This server does not host this topic-partition");
      return { topicMetadata: [{ topic, partitionMetadata: toMetadata(others[topic]) }] };
    },
  };
  const cluster = {
    findTopicPartitionMetadata: (topic: string) => toMetadata(own[topic]),
    getNodeIds: () => ["1"],
    findBroker: async () => broker,
  };
  // Only what the assigner uses.
  return { config: { cluster, groupId: "group" } as unknown as Config, asked };
};

const assign = async (config: Config, subscriptions: Record<string, string[]>, topics: string[]) => {
  const members = Object.entries(subscriptions).map(([memberId, own]) => ({
    memberId,
    memberMetadata: MemberMetadata.encode({ version: 0, topics: own, userData: Buffer.alloc(0) }),
  }));
  const assignments = await roundRobinAmongSubscribers(config).assign({ members, topics });
  return Object.fromEntries(
    assignments.map(({ memberId, memberAssignment }) => [
      memberId,
      { ...MemberAssignment.decode(memberAssignment)?.assignment },
    ]),
  );
};

test("members with the same subscription get what kafkajs's round robin gives them", async () => {
  const { config, asked } = createConfig({ a: 5, b: 2 });
  const subscriptions = { m3: ["a", "b"], m1: ["a", "b"], m2: ["a", "b"] };
  const own = await assign(config, subscriptions, ["a", "b"]);
  const members = Object.keys(subscriptions).map((memberId) => ({
    memberId,
    memberMetadata: Buffer.alloc(0),
  }));
  const theirs = await kafkajs.PartitionAssigners.roundRobin(config).assign({ members, topics: ["a", "b"] });
  for (const { memberId, memberAssignment } of theirs) {
    assert.deepEqual(own[memberId], { ...MemberAssignment.decode(memberAssignment)?.assignment });
  }
  assert.equal(Object.keys(own).length, 3);
  assert.deepEqual(asked, []);
});

test("a member gets partitions of its own topics only, and each partition has one member", async () => {
  const { config, asked } = createConfig({ a: 4 }, { b: 3 });
  const own = await assign(config, { m1: ["a"], m2: ["b"], m3: ["a", "b"] }, ["a"]);
  assert.deepEqual(Object.keys(own.m1 ?? {}), ["a"]);
  assert.deepEqual(Object.keys(own.m2 ?? {}), ["b"]);
  const all = (topic: string) => Object.values(own).flatMap((assignment) => assignment[topic] ?? []);
  assert.deepEqual(all("a").sort(), [0, 1, 2, 3]);
  assert.deepEqual(all("b").sort(), [0, 1, 2]);
  assert.deepEqual(asked, ["b"]);
});

test("a topic that another member reads, and that is not there, stands in nobody's way", async () => {
  const { config } = createConfig({ a: 2 });
  assert.deepEqual(await assign(config, { m1: ["a"], m2: ["missing"] }, ["a"]), { m1: { a: [0, 1] } });
});

test("name and subscription are those of kafkajs, so old and new members agree", () => {
  const { config } = createConfig({});
  const [own, theirs] = [roundRobinAmongSubscribers(config), kafkajs.PartitionAssigners.roundRobin(config)];
  assert.deepEqual(own.protocol({ topics: ["a"] }), theirs.protocol({ topics: ["a"] }));
});
