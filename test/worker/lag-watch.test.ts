import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { watchLag } from "../../src/worker/lag-watch.ts";
import { type Events, listen, tell } from "../../src/worker/telemetry.ts";
import { settle } from "../helpers/unit-time.ts";

const end = (partition: number, low: number, high: number) => ({
  partition,
  offset: String(high),
  low: String(low),
  high: String(high),
});

const start = (t: TestContext, { heard = true } = {}) => {
  t.mock.timers.enable({ apis: ["setInterval"] });
  const told: Events["lag.measured"][] = [];
  const listener = heard ? listen("lag.measured", (fields) => void told.push(fields)) : undefined;
  const calls: string[] = [];
  const broker = { isAway: false, committed: [10, -1, 5], beforeAnswer: async () => {} };
  const admin = {
    connect: async () => void calls.push("connect"),
    disconnect: async () => void calls.push("disconnect"),
    fetchTopicOffsets: async (topic: string) => {
      calls.push(topic);
      await broker.beforeAnswer();
      if (broker.isAway) throw new Error("ECONNREFUSED");
      return [end(0, 0, 15), end(1, 3, 20), end(2, 8, 9)];
    },
    fetchOffsets: async ({ groupId, topics = [] }: { groupId: string; topics?: string[] }) => {
      assert.deepEqual([groupId, topics], ["g", ["t"]]);
      const partitions = broker.committed.map((offset, partition) => ({
        partition,
        offset: String(offset),
        metadata: null,
      }));
      return [{ topic: "t", partitions }];
    },
  };
  const watch = watchLag({ admin, groupId: "g", topic: "t" });
  t.after(async () => {
    listener?.[Symbol.dispose]();
    await watch[Symbol.asyncDispose]();
  });
  const pass = async () => {
    t.mock.timers.tick(3000);
    await settle();
  };
  return { told, calls, broker, watch, pass };
};

const joined = (...partitions: number[]) => tell("group.joined", { topic: "t", partitions });

test("the lag of own partitions is what the broker has behind what is committed", async (t) => {
  const { told, pass } = start(t);
  joined(0, 1, 2);
  await pass();
  assert.deepEqual(told, [
    { topic: "t", partition: 0, committed: 10, lag: 5 },
    { topic: "t", partition: 1, committed: 3, lag: 17 },
    { topic: "t", partition: 2, committed: 8, lag: 1 },
  ]);
});

test("a partition that goes away while the broker is asked is not told", async (t) => {
  const { told, broker, pass } = start(t);
  joined(0, 1);
  broker.beforeAnswer = async () => joined(1);
  await pass();
  assert.deepEqual(
    told.map(({ partition }) => partition),
    [1],
  );
  tell("group.left", { topic: "t" });
  told.length = 0;
  await pass();
  assert.deepEqual(told, []);
});

test("a broker that is away is asked again, one request at a time", async (t) => {
  const { told, broker, calls, pass } = start(t);
  joined(0);
  broker.isAway = true;
  await pass();
  assert.deepEqual([told.length, calls], [0, ["connect", "t"]]);
  broker.isAway = false;
  const gate = Promise.withResolvers<void>();
  broker.beforeAnswer = () => gate.promise;
  await pass();
  await pass();
  assert.deepEqual(calls, ["connect", "t", "connect", "t"]);
  gate.resolve();
  await settle();
  assert.equal(told.length, 1);
});

test("where nobody listens, or nothing is assigned, nobody is asked; the end closes the connection", async (t) => {
  const { calls, watch, pass } = start(t, { heard: false });
  joined(0);
  await pass();
  assert.deepEqual(calls, []);
  await watch[Symbol.asyncDispose]();
  await pass();
  assert.deepEqual(calls, ["disconnect"]);
});
