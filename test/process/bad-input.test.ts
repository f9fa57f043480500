import assert from "node:assert/strict";
import { randomInt } from "node:crypto";
import { suite, test } from "node:test";
import { promisify } from "node:util";
import { gzip, unzip } from "node:zlib";
import kafkajs, { type IHeaders, type KafkaMessage, type Message } from "kafkajs";
import { watchTopic } from "../../src/demo/watch-topic.ts";
import { ensureTopic, withAdmin } from "../../src/kafka/topics.ts";
import { createRandom } from "../../src/support/random.ts";
import { HEADERS, REDRIVES_HEADER } from "../../src/worker/dead-letter.ts";
import { IDEMPOTENCY_KEY_HEADER } from "../../src/worker/publish.ts";
import { countMessages } from "../helpers/count-messages.ts";
import { type DeletionScene, setScene } from "../helpers/deletion-scene.ts";
import { countExecutions, follow } from "../helpers/protocol.ts";
import { until } from "../helpers/scene.ts";

/** The header to which `withNullHeader` gives no value. */
const NULL_HEADER = "without-value";

/**
 * A message sent with this compression carries null in NULL_HEADER, as other clients can send it and kafkajs cannot:
 * the empty value it was given has its length, a varint of 0, made a varint of -1 before the batch is sealed.
 */
const withNullHeader = kafkajs.CompressionTypes.GZIP;
kafkajs.CompressionCodecs[withNullHeader] = () => ({
  compress: ({ buffer }: { buffer: Buffer }) => {
    const length = buffer.indexOf(NULL_HEADER) + NULL_HEADER.length;
    assert.equal(buffer[length], 0);
    buffer[length] = 1;
    return promisify(gzip)(buffer);
  },
  decompress: (buffer: Buffer) => promisify(unzip)(buffer),
});

const toBytes = (value: Buffer | string | null | undefined) =>
  value === null || value === undefined ? null : Buffer.from(value);

/** Headers as bytes. What kafkajs puts before the values of one named like a member of Object.prototype, is none. */
const headerBytes = (headers: IHeaders | undefined) =>
  Object.entries(headers ?? {})
    .map(([name, value]) => ({
      name,
      values: [value]
        .flat()
        .filter((one) => typeof one === "string" || Buffer.isBuffer(one))
        .map(toBytes),
    }))
    .sort((a, b) => (a.name < b.name ? -1 : 1));

const ADDED = new Set<string>(Object.values(HEADERS));

/** Asserts that a dead letter carries the original, byte for byte, and where it came from. */
const assertLetter = (
  letter: KafkaMessage,
  original: Message,
  from: { topic: string; partition: number; offset: string },
  note = "",
) => {
  assert.deepEqual(letter.key, toBytes(original.key), note);
  assert.deepEqual(letter.value, toBytes(original.value), note);
  const own = headerBytes(letter.headers).filter(({ name }) => !ADDED.has(name));
  assert.deepEqual(own, headerBytes(original.headers), note);
  const read = (name: keyof typeof HEADERS) => String(letter.headers?.[HEADERS[name]]);
  assert.deepEqual(
    { topic: read("topic"), partition: Number(read("partition")), offset: read("offset") },
    from,
    note,
  );
  assert.ok(read("error").length > 0 && read("reason").length > 0, note);
  assert.ok(Math.abs(Date.parse(read("time")) - Date.now()) < 120_000, note);
};

const reasonOf = ({ headers }: KafkaMessage) => String(headers?.[HEADERS.reason]);
const offsetOf = ({ headers }: KafkaMessage) =>
  `${headers?.[HEADERS.partition]}/${headers?.[HEADERS.offset]}`;

/** A generated message, and the record it names if it names one. */
interface Generated {
  readonly message: Message;
  readonly recordId?: string;
}

const HOSTILE_IDS = [
  ...[
    "__proto__",
    "constructor",
    "..",
    "../..",
    "/",
    "\\",
    "a b",
    " ",
    "'\"`",
    "'; DROP TABLE rows; --",
    "%00",
    "%2F..",
  ],
  ...[
    "$ne",
    "*",
    "?",
    "#",
    "&a=b",
    "null",
    "0",
    "-1",
    "NaN",
    "true",
    "_",
    "\u00e9",
    "e\u0301",
    "\u202eabc\u202c",
  ],
  ...[
    "\u200b",
    "\ufeffbom",
    "\u{1f9e8}",
    "\u{1f468}\u200d\u{1f469}\u200d\u{1f467}",
    "\u{10ffff}",
    "\uffff",
    "\ufdd0",
    "<script>",
  ],
  // What the SDK's codec reads back as numbers.
  ...["__INF__", "__NEG_INF__"],
];
const BAD_IDS = ["", "a:b", ":", "x".repeat(256), "nul\0", "line\nbreak", "\u0085", "\ud800"];
const BAD_JSON = [
  '{"id":"x"}',
  '{"recordId":1}',
  '[{"recordId":"x"}]',
  "[]",
  "[1]",
  "[null]",
  '[["x"]]',
  '["x"',
  '"x',
  "{",
  '["x"]]',
  '"\\x"',
  '{"__proto__":1}',
];
const KIB = 1024;
/** A batch of one message may take 1 MiB and 12 bytes at the broker; the rest is for what the batch adds. */
const LARGEST = 1024 * KIB - 200;

const createGenerator = (random: () => number, suffix: string) => {
  const below = (end: number) => Math.floor(random() * end);
  const pick = <T>(items: readonly T[]) => items[below(items.length)];
  const bytes = (length: number) => Buffer.from(Array.from({ length }, () => below(256)));
  const words = (length: number) =>
    String.fromCodePoint(...Array.from({ length }, () => pick([0x61, 0xe9, 0x5d0, 0x4e2d, 0x1f600]) ?? 0x61));

  const knownIds = [
    ...HOSTILE_IDS.map((id) => `${id}${suffix}`),
    "x".repeat(255 - suffix.length) + suffix,
    ...Array.from({ length: 300 }, (_, i) => `${words(1 + below(20))}${i}${suffix}`),
  ];
  /** `id` as an id of the topic comes: quoted, first of an array, in an object, or bare. */
  const write = (id: string): string => {
    const bare = id.trim() === id && id !== "" && id.isWellFormed() && !/^["[{]/.test(id);
    const quoted = JSON.stringify(id);
    return (
      pick([
        quoted,
        ` ${quoted}\n`,
        `[${quoted}, ${below(1000)}, {"x": []}]`,
        `{"x": [], "recordId": ${quoted}}`,
        bare ? id : quoted,
      ]) ?? quoted
    );
  };
  const deep = (depth: number) =>
    pick(["[".repeat(depth), "[".repeat(depth) + "]".repeat(depth), '{"a":'.repeat(depth)]);
  const badValue = (): Buffer | string | null =>
    [
      () => null,
      () => "",
      () => pick([" ", "\n\t", "\u00a0", "\ufeff"]) ?? " ",
      () => Buffer.concat([bytes(below(300)), Buffer.from([0xff]), bytes(below(300))]),
      () => Buffer.from(`"${words(below(20))}\u{1f600}`).subarray(0, -1),
      () => Buffer.concat([Buffer.from('"'), Buffer.from([0xc0, 0xaf]), Buffer.from('"')]),
      () => write(pick(BAD_IDS) ?? ""),
      () => pick(BAD_JSON) ?? "{",
      () => JSON.stringify({ [words(3)]: Array.from({ length: below(200) }, () => random()) }),
      () => deep(1 + below(500)) ?? "[",
    ][below(10)]?.() ?? null;
  const headers = (): IHeaders =>
    Object.fromEntries(
      Array.from({ length: below(4) }, () => [
        pick(["trace", "__proto__", "constructor", "", "\u{1f600}", "content-type"]) ?? "",
        pick<Buffer | string | (Buffer | string)[]>([bytes(below(30)), "text", "", ["a", bytes(3), "a"]]) ??
          "",
      ]),
    );
  const key = () => pick([null, "", words(3), bytes(5), "__proto__"]) ?? null;

  const generate = (): Generated => {
    const common = { key: key(), headers: headers(), partition: below(2) };
    const kind = random();
    const recordId = pick(knownIds) ?? "x";
    if (kind < 0.1) return { message: { ...common, value: write(recordId) }, recordId };
    if (kind > 0.15) return { message: { ...common, value: badValue() } };
    const redrives =
      pick<string | Buffer | string[]>(["", "-1", "1.5", "0x1", bytes(4), ["1", "2"], "9".repeat(10)]) ?? "";
    return {
      message: {
        ...common,
        value: write(recordId),
        headers: { ...common.headers, [REDRIVES_HEADER]: redrives },
      },
    };
  };
  const large = (): Generated[] => {
    const padding = (id: string, size: number) => {
      const start = `[${JSON.stringify(id)},"`;
      return `${start}${"x".repeat(size - Buffer.byteLength(start) - 2)}"]`;
    };
    const values = [
      Buffer.alloc(LARGEST, 0xff),
      Buffer.alloc(LARGEST),
      "x".repeat(LARGEST),
      "[".repeat(LARGEST),
      "[".repeat(LARGEST / 2) + "]".repeat(LARGEST / 2),
      `{"a":${"[".repeat(1000)}${"]".repeat(1000)},"b":"${"\\u0000".repeat(100_000)}"}`,
    ];
    const ids = [`large-1${suffix}`, `large-2${suffix}`];
    return [
      ...values.map((value, i) => ({ message: { value, partition: i % 2 } })),
      ...ids.map((recordId) => ({ message: { value: padding(recordId, LARGEST), partition: 0 }, recordId })),
    ];
  };
  return { generate, large };
};

/** Produces in few batches, none too large for the broker. The messages by partition and offset. */
const produceAll = async ({ producer, settings }: DeletionScene, all: readonly Generated[]) => {
  const byOffset = new Map<string, Generated>();
  const send = async (batch: readonly Generated[]) => {
    const acks = await producer.send({
      topic: settings.TOPIC_SOURCE,
      messages: batch.map(({ message }) => message),
    });
    for (const { partition, baseOffset } of acks) {
      const own = batch.filter(({ message }) => message.partition === partition);
      for (const [i, generated] of own.entries())
        byOffset.set(`${partition}/${Number(baseOffset) + i}`, generated);
    }
  };
  let batch: Generated[] = [];
  let size = 0;
  for (const generated of all) {
    const bytes = Buffer.byteLength(generated.message.value ?? "") + 1000;
    if (size + bytes > LARGEST) {
      await send(batch);
      batch = [];
      size = 0;
    }
    batch.push(generated);
    size += bytes;
  }
  await send(batch);
  return byOffset;
};

const assertUp = async (worker: { exited: Promise<unknown> }) =>
  assert.equal(await Promise.race([worker.exited, "up"]), "up");

/** Makes a dead-letter topic that takes no message, however small. */
const createClosedTopic = async ({ kafka, settings }: DeletionScene): Promise<string> => {
  const topic = `closed-${settings.TOPIC_DEAD_LETTERS}`;
  const configEntries = [{ name: "max.message.bytes", value: "1" }];
  await ensureTopic(kafka, { topic, numPartitions: 2, configEntries });
  return topic;
};

suite("bad input", { concurrency: 3 }, () => {
  test("mode 17: bad messages among good ones go to the dead-letter topic as they were, with where they came from; the good ones are done", async (t) => {
    const scene = await setScene(t);
    const { producer, settings } = scene;
    const worker = await scene.startWorker();
    const bad: { reason: string; message: Message; nullHeader?: boolean }[] = [
      {
        reason: "invalid-utf8",
        message: { key: Buffer.from([0xff, 0]), value: Buffer.from([0x22, 0xc3, 0x22]) },
      },
      { reason: "empty-value", message: { key: null, value: null, headers: { a: "" } } },
      {
        reason: "invalid-json",
        message: { value: '{"id":', headers: { many: ["1", Buffer.from([0xfe]), "1"] } },
      },
      {
        reason: "unexpected-json-shape",
        message: { key: "", value: "[1]", headers: { ["__proto__"]: "x" } },
      },
      {
        reason: "id-colon",
        message: { value: "a:b", headers: { [NULL_HEADER]: "" } },
        nullHeader: true,
      },
      { reason: "invalid-redrive-count", message: { value: "c", headers: { [REDRIVES_HEADER]: "x" } } },
    ];
    const good: string[] = [];
    const offsets: string[] = [];
    for (const { message, nullHeader = false } of bad) {
      good.push(await scene.seed({ batches: 2, partition: 0 }));
      const [ack] = await producer.send({
        topic: settings.TOPIC_SOURCE,
        messages: [{ ...message, partition: 0 }],
        compression: nullHeader ? withNullHeader : kafkajs.CompressionTypes.None,
      });
      offsets.push(ack?.baseOffset ?? "none");
    }
    good.push(await scene.seed({ batches: 2, partition: 0 }));

    await until("the good ones", () => good.every((id) => scene.completionsOf(id).length > 0));
    await until("the dead letters", () => scene.deadLetters.length >= bad.length);
    const source = await watchTopic(scene.kafka, settings.TOPIC_SOURCE);
    t.after(() => source[Symbol.asyncDispose]());
    await until("the source", () => source.messages.length === bad.length + good.length);
    assert.ok(
      source.messages.some(({ headers }) => headers?.[NULL_HEADER] === null),
      "a null header was sent",
    );

    for (const [i, { reason, message }] of bad.entries()) {
      const offset = offsets[i] ?? "none";
      const letter = scene.deadLetters.find((own) => offsetOf(own) === `0/${offset}`);
      assert.ok(letter, `a dead letter for offset ${offset}`);
      assert.equal(reasonOf(letter), reason);
      assertLetter(letter, message, { topic: settings.TOPIC_SOURCE, partition: 0, offset });
    }
    await until("the commit", async () => (await scene.committed()) === bad.length + good.length);
    assert.equal(scene.deadLetters.length, bad.length);
    assert.equal(scene.completions.length, good.length);
    assert.equal(await scene.records.countRows(), 0);
    await assertUp(worker);
  });

  test("mode 17: 10,000 generated messages leave the worker up, and each is a dead letter or has a completion", async (t) => {
    const seed = Number(process.env.SEED ?? randomInt(2 ** 31));
    t.diagnostic(`SEED=${seed} generates these messages again`);
    const scene = await setScene(t, { BATCH_PAUSE_MS: "0" });
    const executions = countExecutions();
    follow(scene.proxy, executions);
    const worker = await scene.startWorker();
    // A server that is not of this test alone may have these ids of an earlier run.
    const { generate, large } = createGenerator(createRandom(seed), scene.embedded ? "" : `-${seed}`);
    const all = [...Array.from({ length: 10_000 - large().length }, generate), ...large()];
    const byOffset = await produceAll(scene, all);
    assert.equal(byOffset.size, 10_000);
    const ids = new Set(all.flatMap(({ recordId }) => recordId ?? []));
    const bad = new Map([...byOffset].filter(([, { recordId }]) => recordId === undefined));
    assert.ok(ids.size > 300 && bad.size > 8000, `${ids.size} records, ${bad.size} bad messages`);

    const note = `SEED=${seed}`;
    const last = await Promise.all([0, 1].map((partition) => scene.seed({ batches: 1, partition })));
    const completed = () => new Set(scene.completions.map(({ key }) => String(key)));
    await until(`all completions, ${note}`, () => completed().size >= ids.size + last.length, 120_000);
    await until(`all dead letters, ${note}`, () => scene.deadLetters.length >= bad.size, 120_000);
    await until(`the commit of all, ${note}`, async () => (await scene.committed()) === 10_002);
    await assertUp(worker);

    assert.deepEqual(completed(), ids.union(new Set(last)), note);
    const keys = new Set(scene.completions.map(({ headers }) => String(headers?.[IDEMPOTENCY_KEY_HEADER])));
    assert.equal(keys.size, ids.size + last.length, `a key for each, ${note}`);
    assert.deepEqual(new Set(executions.created.keys()), completed(), note);
    for (const id of completed()) {
      const count = executions.executionsWith("enqueueCompletion", id);
      assert.equal(count, 1, `one execution each, ${note}, ${JSON.stringify(id)}`);
    }
    assert.deepEqual(new Set(scene.deadLetters.map(offsetOf)), new Set(bad.keys()), note);
    for (const letter of scene.deadLetters) {
      const [partition = "", offset = ""] = offsetOf(letter).split("/");
      const original = bad.get(`${partition}/${offset}`)?.message ?? { value: "none" };
      const headers = Object.fromEntries(
        Object.entries(original.headers ?? {}).filter(([name]) => !ADDED.has(name)),
      );
      const from = { topic: scene.settings.TOPIC_SOURCE, partition: Number(partition), offset };
      assertLetter(letter, { ...original, headers }, from, `${note}, ${partition}/${offset}`);
    }
  });

  test("mode 18: while the dead-letter topic cannot be written, nothing is committed past a bad message; the good ones run", async (t) => {
    const scene = await setScene(t);
    const { settings, kafka } = scene;
    const topic = await createClosedTopic(scene);
    const worker = await scene.startWorker({ TOPIC_DEAD_LETTERS: topic });
    const isDone = (id: string) => scene.completionsOf(id).length > 0;
    const good = ["before", "after", "after-too"].map((name) => `${name}-${settings.KAFKA_GROUP_ID}`);
    await scene.records.addRows(new Map(good.map((id) => [id, settings.BATCH_SIZE])));
    const [before, ...after] = good.map((id) => ({ key: id, value: id, partition: 0 }));
    const bad = { key: "bad", value: "{", partition: 0 };
    await scene.produce(...[before, bad, ...after].filter((message) => message !== undefined));

    const failures = () => worker.lines.filter((line) => line.includes(`cannot write to ${topic}`));
    await until("the good ones", () => good.every(isDone));
    await until("the commit up to the bad one", async () => (await scene.committed()) === 1);
    await until("the failure to write", () => failures().length > 0, 45_000);
    assert.match(failures()[0] ?? "", /partition=0, offset=1/);
    assert.equal(await scene.committed(), 1);
    assert.ok(!worker.lines.some((line) => line.includes("message goes to")));

    // The worker makes it again as it should be.
    await withAdmin(kafka, (admin) => admin.deleteTopics({ topics: [topic] }));
    const hasLetter = async () => (await countMessages(kafka, topic).catch(() => 0)) > 0;
    await until("a letter in the topic", hasLetter);
    const letters = scene.resources.use(await watchTopic(kafka, topic));
    const letter = await until("the dead letter", () => letters.messages[0]);
    assert.equal(reasonOf(letter), "invalid-json");
    // It is tried ever smaller. Where the topic came back between two tries, it lacks what the old topic refused.
    const lacks = String(letter.headers?.[HEADERS.without] ?? "").split(",");
    const original = {
      key: lacks.includes("key") ? null : bad.key,
      value: lacks.includes("value") ? null : bad.value,
    };
    assertLetter(letter, original, { topic: settings.TOPIC_SOURCE, partition: 0, offset: "1" });
    await until("the commit to catch up", async () => (await scene.committed()) === 4);
    assert.equal(letters.messages.length, 1);
    await assertUp(worker);
  });
});
