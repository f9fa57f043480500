import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { logLevel } from "kafkajs";
import { job } from "../../src/jobs/deletion/job.ts";
import { createKafka } from "../../src/kafka/client.ts";
import { createBroker } from "../../src/stack/broker/broker.ts";
import { silentLog } from "../../src/support/log.ts";
import { type Place, seed } from "../../src/worker/seed.ts";
import { parseJobSettings } from "../../src/worker/settings.ts";
import { until } from "../helpers/unit-time.ts";

const build = async (t: TestContext) => {
  const broker = createBroker({ autoCreateTopics: false });
  const { host, port } = await broker.listen({ port: 0 });
  t.after(() => broker.stop());
  const settings = parseJobSettings(job, { KAFKA_BROKERS: `${host}:${port}`, TOPIC_PARTITIONS: "2" });
  const kafka = createKafka(settings, { clientId: "test", log: silentLog, level: logLevel.NOTHING });
  /** The end of each partition of the source topic. */
  const ends = async () => {
    const admin = kafka.admin();
    await admin.connect();
    try {
      const offsets = await admin.fetchTopicOffsets(settings.TOPIC_SOURCE);
      return offsets.toSorted((a, b) => a.partition - b.partition).map(({ offset }) => Number(offset));
    } finally {
      await admin.disconnect();
    }
  };
  return { settings, kafka, ends };
};

const sum = (numbers: readonly number[]) => numbers.reduce((total, n) => total + n, 0);

const messagesOf = (count: number) =>
  Array.from({ length: count }, (_, i) => ({ key: `k${i}`, value: `v${i}`, about: `message ${i}`, own: i }));

test("a job's messages are produced in order, each told once it has its place, in topics that are made", async (t) => {
  const { settings, kafka, ends } = await build(t);
  const asked: unknown[] = [];
  const random = () => 0.5;
  const own = {
    seed: ({ count, ...options }: { count: number; settings: typeof settings; random: () => number }) => {
      asked.push([count, options.settings, options.random]);
      return messagesOf(count);
    },
  };
  const seen: Awaited<ReturnType<typeof ends>>[] = [];
  const made: (ReturnType<typeof messagesOf>[number] & Place)[] = [];
  for await (const message of seed({ job: own, settings, kafka, count: 6, random })) {
    made.push(message);
    seen.push(await ends());
  }
  assert.deepEqual(asked, [[6, settings, random]]);
  assert.deepEqual(
    made.map(({ partition, offset, ...message }) => message),
    messagesOf(6),
    "with what the job adds to them",
  );
  for (const [index, { partition, offset }] of made.entries()) {
    assert.ok(Number(offset) < (seen[index]?.[partition] ?? 0), "it was on the log when it was told");
    assert.equal(sum(seen[index] ?? []), index + 1, "and the next one was not");
  }
  for (const own of [0, 1]) {
    const placed = made.filter(({ partition }) => partition === own).map(({ offset }) => Number(offset));
    assert.deepEqual(placed, [...placed.keys()], "in order");
  }
});

test("the rows of a job come before its messages: where they fail, nothing is produced", async (t) => {
  const { settings, kafka, ends } = await build(t);
  const failure = new Error("no rows");
  const own = {
    seed: () => {
      throw failure;
    },
  };
  const seeding = seed({ job: own, settings, kafka, count: 3, random: Math.random });
  await assert.rejects(seeding.next(), (error) => error === failure);
  await assert.rejects(ends(), "not even a topic was made");
});

test("whoever stops in between has produced so many, and leaves no connection behind", async (t) => {
  const { settings, kafka, ends } = await build(t);
  let made = 0;
  for await (const _ of seed({
    job: { seed: () => messagesOf(50) },
    settings,
    kafka,
    count: 50,
    random: () => 0,
  })) {
    made += 1;
    if (made === 2) break;
  }
  assert.equal(sum(await ends()), 2);
  await until(
    "all connections are closed",
    () => !process.getActiveResourcesInfo().includes("TCPSocketWrap"),
  );
});
