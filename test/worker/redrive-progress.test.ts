import assert from "node:assert/strict";
import { test } from "node:test";
import type { KafkaMessage } from "kafkajs";
import type { TopicReader } from "../../src/kafka/topic-reader.ts";
import {
  advance,
  decodeProgress,
  encodeProgress,
  firstDue,
  isDone,
  loadProgress,
  type Progress,
} from "../../src/worker/redrive-progress.ts";
import { createMessage } from "../helpers/unit-message.ts";
import { createRandom, randomBelow } from "../helpers/unit-random.ts";

const NONE: ReadonlySet<bigint> = new Set();

const isDue = (progress: Progress | undefined, offset: number, reason: string) =>
  BigInt(offset) >= firstDue(progress) && !isDone(progress, BigInt(offset), reason);

test("whatever reasons are driven in whatever order, and whatever stays, each letter is driven once", () => {
  const random = createRandom(45);
  const reasons = ["a", "b", "c"];
  for (let round = 0; round < 200; round++) {
    const letters: string[] = [];
    const driven = new Map<number, number>();
    let progress: Progress | undefined;
    for (let run = 0; run < 8; run++) {
      const more = randomBelow(random, 10);
      for (let i = 0; i < more; i++) letters.push(reasons[randomBelow(random, 3)] ?? "a");
      const reason = run === 7 ? undefined : [...reasons, undefined][randomBelow(random, 4)];
      // A run may end anywhere, as when it is killed.
      const end = run === 7 ? letters.length : randomBelow(random, letters.length + 1);
      for (let offset = Number(firstDue(progress)); offset < end; offset++) {
        const own = letters[offset] ?? "a";
        if ((reason !== undefined && reason !== own) || isDone(progress, BigInt(offset), own)) continue;
        const tried = new Set([BigInt(offset)]);
        const stays = run < 7 && randomBelow(random, 3) === 0;
        if (!stays) driven.set(offset, (driven.get(offset) ?? 0) + 1);
        const last = { offset: String(offset), timestamp: "0" };
        const attempt = { tried, staying: stays ? tried : NONE };
        const reached = advance(progress, BigInt(offset) + 1n, reason, last, attempt);
        progress = decodeProgress(encodeProgress(reached));
      }
      const due = letters.flatMap((own, offset) => (isDue(progress, offset, own) ? [offset] : []));
      assert.deepEqual(
        due,
        [...letters.keys()].filter((offset) => !driven.has(offset)),
      );
    }
    assert.equal(driven.size, letters.length);
    assert.ok([...driven.values()].every((times) => times === 1));
    assert.equal(progress?.staying.size ?? 0, 0);
  }
});

test("a second look at a letter that stayed takes nothing back of what is done", () => {
  const stayed = new Set([3n]);
  const first = advance(undefined, 9n, undefined, createMessage("", { offset: "8" }), {
    tried: new Set([3n, 8n]),
    staying: stayed,
  });
  assert.deepEqual([firstDue(first), isDone(first, 3n, "a"), isDone(first, 4n, "a")], [3n, false, true]);
  const last = createMessage("", { offset: "3" });
  const again = advance(first, 4n, undefined, last, { tried: stayed, staying: stayed });
  assert.deepEqual([again.all, again.staying, again.last.offset], [9n, stayed, "8"]);
  const gone = advance(again, 4n, "a", last, { tried: stayed, staying: NONE });
  assert.deepEqual([gone.all, firstDue(gone), isDone(gone, 3n, "a")], [9n, 9n, true]);
});

test("of more letters that stay than are kept, the oldest count as done with", () => {
  const staying = new Set(Array.from({ length: 1001 }, (_, n) => BigInt(n)));
  const last = { offset: "1000", timestamp: "0" };
  const progress = advance(undefined, 1001n, undefined, last, { tried: staying, staying });
  assert.deepEqual([progress.staying.size, firstDue(progress)], [1000, 1n]);
  assert.deepEqual(decodeProgress(encodeProgress(progress)), progress);
});

/** A reader of a dead-letter topic `dlq` of one partition with ten letters from offset 5 on, and of its progress. */
const createReader = (recorded: readonly KafkaMessage[]): TopicReader => {
  const letters = Array.from({ length: 10 }, (_, n) => createMessage("{", { offset: String(5 + n) }));
  const topics = new Map([
    ["dlq", { messages: letters, extent: { start: 5n, end: 15n } }],
    ["dlq.redriven", { messages: recorded, extent: { start: 0n, end: BigInt(recorded.length) } }],
  ]);
  return {
    extents: async (topic) => {
      const extent = topics.get(topic)?.extent;
      return new Map(extent ? [[0, extent]] : []);
    },
    read: async function* (topic, _, { start, end }) {
      const messages = topics.get(topic)?.messages ?? [];
      const isWithin = ({ offset }: KafkaMessage) => BigInt(offset) >= start && BigInt(offset) < end;
      yield { messages: messages.filter(isWithin), next: end };
    },
    [Symbol.asyncDispose]: async () => {},
  };
};

test("each source topic has its own progress; one of before there were several counts for those with none", async () => {
  const old = `{"all":"7","reasons":{},"last":{"offset":"6","timestamp":"0"}}`;
  const last = { offset: "8", timestamp: "0" };
  const staying = new Set([2n, 6n]);
  const own = { all: 9n, reasons: new Map(), staying, last };
  const recorded = [
    { key: "one:0", value: encodeProgress(own) },
    { key: "0", value: old },
    { key: "one.more:0", value: encodeProgress({ ...own, all: 12n }) },
  ].map(({ key, value }, n) => createMessage(value, { key: Buffer.from(key), offset: String(n) }));
  const reader = createReader(recorded);
  const extents = await reader.extents("dlq");
  const load = async (source: string) =>
    (await loadProgress(reader, { deadLetters: "dlq", source }, extents)).get(0);
  const one = await load("one");
  assert.deepEqual([one?.all, one?.staying], [9n, new Set([6n])], "the letter at 2 is no longer kept");
  assert.equal((await load("one.more"))?.all, 12n);
  const other = await load("other");
  assert.deepEqual([other?.all, other?.staying], [7n, new Set()]);
});

test("what is on record stays small: a reason is kept only beyond what is done of all", () => {
  const last = { offset: "8", timestamp: "1" };
  const one = advance(undefined, 5n, "a", last);
  assert.deepEqual([one.all, [...one.reasons]], [0n, [["a", 5n]]]);
  const all = advance(advance(one, 9n, "b", last), 7n, undefined, last);
  assert.deepEqual([all.all, [...all.reasons]], [7n, [["b", 9n]]]);
  assert.deepEqual(decodeProgress(encodeProgress(all)), all);
});
