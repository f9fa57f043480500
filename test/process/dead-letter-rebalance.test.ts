import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout } from "node:timers/promises";
import { withAdmin } from "../../src/kafka/topics.ts";
import { countMessages } from "../helpers/count-messages.ts";
import { setScene } from "../helpers/deletion-scene.ts";
import { linesWith, until } from "../helpers/scene.ts";

const MESSAGES = 10_000;
const PER_REQUEST = 1000;

test("mode 38: rebalances while batches of dead letters are written repeat 1 % of them at most", async (t) => {
  const scene = await setScene(t, { TOPIC_PARTITIONS: "4" });
  const { kafka, settings, producer, resources } = scene;
  const workers = await Promise.all([scene.startWorker(), scene.startWorker()]);
  const joins = () =>
    workers.reduce((sum, worker) => sum + linesWith(worker, "joined consumer group").length, 0);
  const countLetters = () => countMessages(kafka, settings.TOPIC_DEAD_LETTERS);

  // A member that comes and goes, and reads another topic.
  const topic = `other-${settings.KAFKA_GROUP_ID}`;
  await withAdmin(kafka, (admin) => admin.createTopics({ topics: [{ topic, numPartitions: 1 }] }));
  let done = false;
  const comeAndGo = async () => {
    while (!done) {
      const guest = kafka.consumer({
        groupId: settings.KAFKA_GROUP_ID,
        sessionTimeout: 6000,
        maxWaitTimeInMs: 100,
      });
      const joined = Promise.withResolvers<void>();
      guest.on(guest.events.GROUP_JOIN, () => joined.resolve());
      await guest.connect();
      await guest.subscribe({ topic });
      await guest.run({ eachMessage: async () => {} });
      await joined.promise;
      await guest.disconnect();
      await setTimeout(200);
    }
  };
  const guests = comeAndGo();
  resources.defer(() => guests);
  const before = joins();
  for (let sent = 0; sent < MESSAGES; sent += PER_REQUEST) {
    const messages = Array.from({ length: PER_REQUEST }, (_, n) => ({ key: `${sent + n}`, value: "{" }));
    await producer.send({ topic: settings.TOPIC_SOURCE, messages });
  }
  try {
    await until("the commit of all", async () => (await scene.committed()) >= MESSAGES, 120_000);
  } finally {
    done = true;
  }
  const rebalances = (joins() - before) / 2;
  const letters = await countLetters();
  t.diagnostic(`${letters} letters of ${MESSAGES} messages, ${rebalances} rebalances`);
  assert.ok(rebalances >= 3, `${rebalances} rebalances`);
  assert.ok(letters >= MESSAGES, "none is lost");
  assert.ok(letters <= MESSAGES * 1.01, `${letters} letters of ${MESSAGES} messages`);
});
