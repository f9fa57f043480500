import assert from "node:assert/strict";
import { suite, test } from "node:test";
import { ensureTopic, withAdmin } from "../../src/kafka/topics.ts";
import type { DeadLetters } from "../../src/operate/dead-letters.ts";
import { silentLog } from "../../src/support/log.ts";
import { HEADERS } from "../../src/worker/dead-letter.ts";
import { createRedriveLock } from "../../src/worker/redrive-lock.ts";
import { progressTopic } from "../../src/worker/redrive-progress.ts";
import { MAX_LETTERS } from "../../src/worker/send-back.ts";
import { produceControlRecords } from "../helpers/batches.ts";
import { runCommand, runRedrive } from "../helpers/command-process.ts";
import { countMessages } from "../helpers/count-messages.ts";
import { type DeletionScene, setScene } from "../helpers/deletion-scene.ts";
import { type Env, until } from "../helpers/scene.ts";

/** Puts `count` letters into the dead-letter topic, of two reasons in turn. */
const produceLetters = async (
  { producer, settings }: DeletionScene,
  count: number,
  first = 0,
  source = settings.TOPIC_SOURCE,
) => {
  const time = new Date().toISOString();
  const toLetter = (n: number) => ({
    key: `k${n}`,
    value: "{",
    headers: {
      [HEADERS.reason]: n % 2 === 0 ? "invalid-json" : "empty-value",
      [HEADERS.error]: "expected JSON",
      [HEADERS.topic]: source,
      [HEADERS.partition]: "0",
      [HEADERS.offset]: String(n),
      [HEADERS.time]: time,
    },
  });
  for (let sent = 0; sent < count; sent += 1000) {
    const messages = Array.from({ length: Math.min(1000, count - sent) }, (_, n) =>
      toLetter(first + sent + n),
    );
    await producer.send({ topic: settings.TOPIC_DEAD_LETTERS, messages });
  }
};

/** How many messages have come back to the source topic. */
const countBack = (scene: DeletionScene) => countMessages(scene.kafka, scene.settings.TOPIC_SOURCE);

/** What `npm run status` says of the dead letters. */
const readDeadLetters = async (scene: DeletionScene, settings: Env = {}): Promise<DeadLetters> => {
  const { end, stdout, stderr } = await runCommand("status", scene, { args: ["--json"], settings });
  assert.equal(end, 0, stderr.join("\n"));
  return JSON.parse(stdout.join("\n")).deadLetters;
};

/** The groups that a redrive may have made. */
const findGroups = ({ kafka, settings }: DeletionScene) =>
  withAdmin(kafka, async (admin) => {
    const { groups } = await admin.listGroups();
    return groups.map(({ groupId }) => groupId).filter((id) => id.startsWith(`${settings.KAFKA_GROUP_ID}.`));
  });

const summary = ({ settings }: DeletionScene, sum: number, verb = "went") =>
  `${sum} messages ${verb} from ${settings.TOPIC_DEAD_LETTERS} back to ${settings.TOPIC_SOURCE}`;

suite("redrive of many", { concurrency: 2 }, () => {
  test("mode 45: a dry run counts by reason; one reason and then all do not overlap; nothing is left behind", async (t) => {
    const scene = await setScene(t);
    await produceLetters(scene, 40);
    const counts = (lines: readonly string[]) => [...lines.slice(0, -1)].sort();
    const dry = await runRedrive(scene, { args: ["--dry-run"] });
    assert.deepEqual(counts(dry.stdout), ["empty-value: 20", "invalid-json: 20"]);
    assert.equal(dry.stdout.at(-1), summary(scene, 40, "would go"));
    assert.equal(await countBack(scene), 0);

    const one = await runRedrive(scene, { args: ["--reason", "empty-value"] });
    assert.deepEqual(one.stdout, ["empty-value: 20", summary(scene, 20)]);
    await produceLetters(scene, 10, 40);
    const left = await runRedrive(scene, { args: ["--dry-run"] });
    assert.deepEqual(counts(left.stdout), ["empty-value: 5", "invalid-json: 25"]);
    const all = await runRedrive(scene);
    assert.deepEqual(counts(all.stdout), ["empty-value: 5", "invalid-json: 25"]);
    assert.deepEqual((await runRedrive(scene)).stdout, [summary(scene, 0)]);
    assert.equal(await countBack(scene), 50);
    assert.deepEqual(await findGroups(scene), []);
  });

  test("mode 45: of two jobs that share a dead-letter topic each drives its own letters, and those of no topic", async (t) => {
    const scene = await setScene(t);
    const { kafka, producer, settings } = scene;
    const source = `other-${settings.TOPIC_SOURCE}`;
    await ensureTopic(kafka, { topic: source, numPartitions: 1 });
    const other = { TOPIC_SOURCE: source, KAFKA_GROUP_ID: `other-${settings.KAFKA_GROUP_ID}` };
    await produceLetters(scene, 20);
    await produceLetters(scene, 10, 20, source);
    const passedOver = (n: number, topic: string) =>
      `letters of other topics are passed over: ${n} of ${topic}`;
    const half = (n: number) => ({ "empty-value": n / 2, "invalid-json": n / 2 });

    const dry = await runRedrive(scene, { args: ["--dry-run"] });
    assert.deepEqual(dry.stdout.slice(-2), [passedOver(10, source), summary(scene, 20, "would go")]);
    const first = await runRedrive(scene);
    assert.deepEqual(first.stdout.slice(-2), [passedOver(10, source), summary(scene, 20)]);
    assert.deepEqual([await countBack(scene), await countMessages(scene.kafka, source)], [20, 0]);
    assert.deepEqual(await readDeadLetters(scene), { waiting: {}, drivenAgain: 20, unread: 0 });
    const waiting = { waiting: half(10), drivenAgain: 0, unread: 0 };
    assert.deepEqual(await readDeadLetters(scene, other), waiting, "the other's are still due");

    await producer.send({
      topic: settings.TOPIC_DEAD_LETTERS,
      messages: [{ key: "k", value: "{", headers: { [HEADERS.reason]: "invalid-json" } }],
    });
    assert.deepEqual((await runRedrive(scene)).stdout, ["invalid-json: 1", summary(scene, 1)]);
    const second = await runRedrive(scene, { settings: other });
    assert.deepEqual(second.stdout.slice(-2), [
      passedOver(20, settings.TOPIC_SOURCE),
      `11 messages went from ${settings.TOPIC_DEAD_LETTERS} back to ${source}`,
    ]);
    assert.deepEqual([await countBack(scene), await countMessages(scene.kafka, source)], [21, 11]);
    assert.deepEqual(await readDeadLetters(scene, other), { waiting: {}, drivenAgain: 11, unread: 0 });
    assert.deepEqual((await runRedrive(scene)).stdout, [summary(scene, 0)]);
  });

  test("mode 45: a letter that cannot go back waits on, and goes with the first redrive that can send it", async (t) => {
    const scene = await setScene(t);
    const { producer, settings } = scene;
    const [topic, partition] = [settings.TOPIC_DEAD_LETTERS, 0];
    // Its original is not there yet: as one that a topic with a higher limit would take.
    const stays = {
      key: "k0",
      value: null,
      partition,
      headers: {
        [HEADERS.reason]: "id-colon",
        [HEADERS.topic]: settings.TOPIC_SOURCE,
        [HEADERS.partition]: "0",
        [HEADERS.offset]: "0",
        [HEADERS.time]: new Date().toISOString(),
        [HEADERS.without]: "value",
      },
    };
    const whole = { ...stays, value: "w", headers: { [HEADERS.reason]: "invalid-json" } };
    const left = `1 messages stay in ${topic}: they cannot be sent back`;
    await producer.send({ topic, messages: [stays] });
    assert.deepEqual((await runRedrive(scene)).stdout, [left, summary(scene, 0)]);
    await producer.send({ topic, messages: [whole] });
    const waits = { waiting: { "id-colon": 1, "invalid-json": 1 }, drivenAgain: 0, unread: 0 };
    assert.deepEqual(await readDeadLetters(scene), waits);
    const args = ["--reason", "invalid-json"];
    assert.deepEqual((await runRedrive(scene, { args })).stdout, ["invalid-json: 1", summary(scene, 1)]);
    assert.deepEqual((await runRedrive(scene)).stdout, [left, summary(scene, 0)]);

    const back = await countBack(scene);
    await producer.send({
      topic: settings.TOPIC_SOURCE,
      messages: [{ key: "k0", value: "v0", partition: 0 }],
    });
    assert.deepEqual((await runRedrive(scene)).stdout, ["id-colon: 1", summary(scene, 1)]);
    assert.equal(await countBack(scene), back + 2);
    assert.deepEqual(await readDeadLetters(scene), { waiting: {}, drivenAgain: 2, unread: 0 });
    assert.deepEqual((await runRedrive(scene)).stdout, [summary(scene, 0)]);
  });

  test("mode 45: what was driven is not driven again, though no consumer group tells of it any more", async (t) => {
    const scene = await setScene(t);
    await produceLetters(scene, 30);
    assert.equal((await runRedrive(scene)).stdout.at(-1), summary(scene, 30));
    // What expires after seven days is a group's offsets: there are none to expire.
    await withAdmin(scene.kafka, async (admin) => {
      const { groups } = await admin.listGroups();
      for (const { groupId } of groups) {
        const offsets = await admin.fetchOffsets({ groupId });
        assert.ok(
          !offsets.some(
            ({ topic }) => topic === scene.settings.TOPIC_DEAD_LETTERS && groupId.includes("redrive"),
          ),
        );
      }
    });
    assert.equal((await runRedrive(scene)).stdout.at(-1), summary(scene, 0));

    // A topic that is made again is another one: its letters have the same offsets.
    const topic = scene.settings.TOPIC_DEAD_LETTERS;
    const remade = { topic, numPartitions: 2 };
    await withAdmin(scene.kafka, async (admin) => {
      await admin.deleteTopics({ topics: [topic] });
      await until("it to be gone", async () => !(await admin.listTopics()).includes(topic));
      await admin.createTopics({ topics: [remade], waitForLeaders: false });
      await until("it to be back", async () => (await admin.listTopics()).includes(topic));
    });
    const isThere = () =>
      produceLetters(scene, 40, 100).then(
        () => true,
        () => false,
      );
    await until("the letters", isThere);
    // A request that failed for one partition only was sent again for both.
    const letters = await countMessages(scene.kafka, topic);
    assert.equal((await runRedrive(scene)).stdout.at(-1), summary(scene, letters));
  });

  test("mode 45: control records in the dead-letter topic, also as its last, end a redrive like letters do", async (t) => {
    const scene = await setScene(t);
    const { kafka, embedded, settings } = scene;
    const topic = settings.TOPIC_DEAD_LETTERS;
    await produceLetters(scene, 20);
    // kafkajs sends a request again as a whole when one partition of a fresh topic has no leader yet.
    const letters = await countMessages(scene.kafka, topic);
    assert.ok(letters >= 20);
    if (embedded) {
      for (const partition of [0, 1]) {
        await produceControlRecords(embedded.kafkaPort, { topic, partition, count: 3 });
      }
    } else {
      const producer = kafka.producer({
        transactionalId: `tx-${settings.KAFKA_GROUP_ID}`,
        maxInFlightRequests: 1,
        idempotent: true,
      });
      await producer.connect();
      scene.resources.defer(() => producer.disconnect());
      const transaction = await producer.transaction();
      for (const partition of [0, 1]) {
        await transaction.send({ topic, messages: [{ key: "aborted", value: "{", partition }] });
      }
      await transaction.abort();
    }
    const first = await runRedrive(scene);
    assert.deepEqual([first.end, first.stdout.at(-1)], [0, summary(scene, letters)]);
    assert.equal((await runRedrive(scene)).stdout.at(-1), summary(scene, 0));
  });

  test("mode 45: a second redrive says that the first runs, and ends", async (t) => {
    const scene = await setScene(t);
    const { kafka, settings } = scene;
    await produceLetters(scene, 20);
    const { topic } = progressTopic(settings.TOPIC_DEAD_LETTERS);
    await ensureTopic(kafka, progressTopic(settings.TOPIC_DEAD_LETTERS));
    const groupId = `${settings.KAFKA_GROUP_ID}.redrive`;
    const { signal } = new AbortController();
    const first = createRedriveLock({ kafka, groupId, topic, log: silentLog, signal });
    await first.acquire();
    try {
      const second = await runRedrive(scene);
      assert.equal(second.end, 1);
      assert.deepEqual(second.stdout, []);
      assert.match(second.stderr.at(-1) ?? "", /expected to be the only redrive, got another one that runs/);
      assert.equal(first.lost.aborted, false, "the first is not disturbed");
    } finally {
      await first[Symbol.asyncDispose]();
    }
    assert.equal(await countBack(scene), 0);
    assert.equal((await runRedrive(scene)).stdout.at(-1), summary(scene, 20));
  });

  test("mode 45: of two that start at the same moment one drives, and each letter goes back once", async (t) => {
    const scene = await setScene(t);
    await produceLetters(scene, 5000);
    const outcomes = await Promise.all([runRedrive(scene), runRedrive(scene)]);
    assert.ok(outcomes.some(({ stdout }) => stdout.at(-1) === summary(scene, 5000)));
    for (const { end, stdout, stderr } of outcomes) {
      if (end === 0) assert.ok([summary(scene, 5000), summary(scene, 0)].includes(stdout.at(-1) ?? ""));
      else assert.match(stderr.at(-1) ?? "", /expected to be the only redrive/);
    }
    assert.equal(await countBack(scene), 5000);
  });

  test("mode 45: a redrive that was killed goes on when it is run again, and says how far it has come", async (t) => {
    const scene = await setScene(t);
    await produceLetters(scene, 20_000);
    const kill = new AbortController();
    const killed = runRedrive(scene, { kill: kill.signal });
    await until("something to go back", async () => (await countBack(scene)) > 0);
    kill.abort();
    assert.equal((await killed).end, "SIGKILL");
    const before = await countBack(scene);
    assert.ok(before < 20_000, "it was killed midway");

    const again = await runRedrive(scene);
    assert.equal(again.end, 0);
    assert.match(again.stderr.at(-1) ?? "", /looked at (\d+) of \1 letters/);
    const back = await countBack(scene);
    t.diagnostic(`${before} before the kill, ${back} in all, ${again.ms} ms`);
    assert.ok(back >= 20_000 && back <= 20_000 + MAX_LETTERS, `${back} messages are back`);
    assert.deepEqual((await runRedrive(scene)).stdout, [summary(scene, 0)]);
    assert.deepEqual(await findGroups(scene), []);
  });
});

test("mode 45: 20,000 old letters, each to be looked at, are found driven within 3 s", async (t) => {
  const scene = await setScene(t);
  await produceLetters(scene, 20_000);
  const args = ["--reason", "invalid-json"];
  assert.equal((await runRedrive(scene, { args })).end, 0);
  const driven = await countBack(scene);
  assert.ok(driven >= 10_000);
  // Its time of computing, since other tests are at work beside this one; what it waits for the broker is little.
  const tell =
    'process.on("exit", () => console.error("cpu", process.cpuUsage().user + process.cpuUsage().system));';
  const NODE_OPTIONS = `--import=data:text/javascript;base64,${Buffer.from(tell).toString("base64")}`;
  const { stdout, stderr, ms } = await runRedrive(scene, { args, settings: { NODE_OPTIONS } });
  assert.deepEqual(stdout, [summary(scene, 0)]);
  const cpuMs = Number(/cpu (\d+)/.exec(stderr.join("\n"))?.[1]) / 1000;
  t.diagnostic(`${ms} ms, of which ${cpuMs} ms computing`);
  assert.ok(cpuMs <= 3000, `${cpuMs} ms`);
});
