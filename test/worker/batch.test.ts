import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import type { EachBatchPayload, OffsetsByTopicPartition } from "kafkajs";
import { type Dispatch, dispatchBatch } from "../../src/worker/batch.ts";
import { createMessage } from "../helpers/unit-message.ts";
import { createRandom, randomBelow } from "../helpers/unit-random.ts";
import { mockTimers, settle } from "../helpers/unit-time.ts";

const TICK_MS = 500;
const PARTITION = 3;

interface Options {
  readonly offsets: readonly number[];
  readonly concurrency: number;
  /** Where the batch ends; past the last message where control records follow it. */
  readonly lastOffset?: number;
  /** Dispatches go on when they are told to end. */
  readonly deaf?: boolean;
  readonly isOurs?: () => boolean;
}

/** A batch under way, with every dispatch in the hands of the test. */
const start = ({
  offsets,
  concurrency,
  lastOffset = offsets.at(-1) ?? 0,
  deaf = false,
  isOurs = () => true,
}: Options) => {
  const resolved: number[] = [];
  const commits: number[] = [];
  /** Dispatches that wait for their end, by offset. */
  const open = new Map<number, PromiseWithResolvers<void>>();
  const started: number[] = [];
  const faults: { heartbeat?: Error; commit?: Error } = {};
  const stop = new AbortController();
  let heartbeats = 0;
  let dispatchSignal: AbortSignal | undefined;

  const dispatch: Dispatch = async (message, partition, signal) => {
    assert.equal(partition, PARTITION);
    dispatchSignal = signal;
    signal.throwIfAborted();
    const offset = Number(message.offset);
    const end = Promise.withResolvers<void>();
    started.push(offset);
    open.set(offset, end);
    if (!deaf) signal.addEventListener("abort", () => end.reject(signal.reason), { once: true });
    await end.promise.finally(() => open.delete(offset));
  };
  const payload: EachBatchPayload = {
    batch: {
      topic: "topic",
      partition: PARTITION,
      highWatermark: String(lastOffset + 1),
      messages: offsets.map((offset) => createMessage("r-1", { offset: String(offset) })),
      isEmpty: () => offsets.length === 0,
      firstOffset: () => String(offsets[0] ?? null),
      lastOffset: () => String(lastOffset),
      offsetLag: () => "0",
      offsetLagLow: () => "0",
    },
    resolveOffset: (offset) => void resolved.push(Number(offset)),
    heartbeat: async () => {
      heartbeats += 1;
      if (faults.heartbeat) throw faults.heartbeat;
    },
    commitOffsetsIfNecessary: async (sent) => {
      if (faults.commit) throw faults.commit;
      assert.equal(sent?.topics.length, 1);
      const [topic] = sent?.topics ?? [];
      assert.deepEqual([topic?.topic, topic?.partitions[0]?.partition], ["topic", PARTITION]);
      commits.push(Number(topic?.partitions[0]?.offset));
    },
    pause: () => () => {},
    uncommittedOffsets: (): OffsetsByTopicPartition => ({ topics: [] }),
    isRunning: () => true,
    isStale: () => false,
  };
  const outcome: { ended: boolean; error?: unknown } = { ended: false };
  const ended = dispatchBatch(payload, { dispatch, concurrency, isOurs }, stop.signal).then(
    () => {
      outcome.ended = true;
    },
    (error) => Object.assign(outcome, { ended: true, error }),
  );
  return {
    resolved,
    commits,
    open,
    started,
    faults,
    stop,
    outcome,
    ended,
    heartbeats: () => heartbeats,
    signal: () => dispatchSignal,
    finish: (offset: number) => open.get(offset)?.resolve(),
  };
};

const range = (from: number, count: number) => Array.from({ length: count }, (_, index) => from + index);

test("messages are dispatched up to the bound at once, in order, and the whole batch is committed", async () => {
  const batch = start({ offsets: range(10, 7), concurrency: 3 });
  await settle();
  assert.deepEqual(batch.started, [10, 11, 12]);
  batch.finish(11);
  await settle();
  assert.deepEqual(batch.started, [10, 11, 12, 13]);
  for (const offset of range(10, 7)) {
    batch.finish(offset);
    await settle();
  }
  await batch.ended;
  assert.deepEqual(batch.started, range(10, 7));
  assert.deepEqual(batch.commits, [17]);
  assert.deepEqual(batch.resolved, [16]);
  assert.equal(batch.outcome.error, undefined);
});

test("what ends a batch after its last message is committed with it", async () => {
  const batch = start({ offsets: [10, 11], concurrency: 5, lastOffset: 14 });
  await settle();
  for (const offset of [10, 11]) batch.finish(offset);
  await batch.ended;
  assert.deepEqual(batch.commits, [15]);
});

test("a batch without messages commits nothing", async () => {
  const batch = start({ offsets: [], concurrency: 5 });
  await batch.ended;
  assert.deepEqual([batch.commits, batch.outcome.error], [[], undefined]);
});

test("offsets beyond 2^53 are counted exactly", async () => {
  const commits: (string | undefined)[] = [];
  const offset = "9007199254740993";
  const batch: EachBatchPayload["batch"] = {
    topic: "topic",
    partition: 0,
    highWatermark: "0",
    messages: [createMessage("r-1", { offset })],
    isEmpty: () => false,
    firstOffset: () => offset,
    lastOffset: () => offset,
    offsetLag: () => "0",
    offsetLagLow: () => "0",
  };
  const payload: EachBatchPayload = {
    batch,
    resolveOffset: () => {},
    heartbeat: async () => {},
    commitOffsetsIfNecessary: async (sent) => void commits.push(sent?.topics[0]?.partitions[0]?.offset),
    pause: () => () => {},
    uncommittedOffsets: () => ({ topics: [] }),
    isRunning: () => true,
    isStale: () => false,
  };
  await dispatchBatch(payload, { dispatch: async () => {}, concurrency: 1 }, new AbortController().signal);
  assert.deepEqual(commits, ["9007199254740994"]);
});

test("while a batch is under way it sends heartbeats and commits only what is done without a gap", async (t) => {
  const timers = mockTimers(t);
  const batch = start({ offsets: range(10, 6), concurrency: 6 });
  await timers.advance(TICK_MS);
  assert.deepEqual([batch.heartbeats(), batch.commits], [1, []]);
  for (const offset of [11, 12, 15]) batch.finish(offset);
  await timers.advance(TICK_MS);
  assert.deepEqual([batch.heartbeats(), batch.commits], [2, []]);
  batch.finish(10);
  await timers.advance(TICK_MS);
  assert.deepEqual([batch.commits, batch.resolved], [[13], [12]]);
  await timers.advance(TICK_MS);
  assert.deepEqual([batch.heartbeats(), batch.commits], [4, [13]], "nothing new, no commit");
  for (const offset of [13, 14]) batch.finish(offset);
  await batch.ended;
  assert.deepEqual(
    [batch.commits, batch.resolved],
    [
      [13, 16],
      [12, 15],
    ],
  );
});

/** The offset a commit may go to: that of the first message that is not done, of all those done before it. */
const firstGap = (offsets: readonly number[], done: ReadonlySet<number>): number | undefined => {
  const count = offsets.findIndex((offset) => !done.has(offset));
  return count <= 0 ? undefined : (offsets[count - 1] ?? 0) + 1;
};

/** Plays batches of random size, gaps, concurrency and order of completion; `onTick` may bring one to its end. */
const playRandomly = async (
  t: TestContext,
  seed: number,
  onTick: (random: () => number, batch: ReturnType<typeof start>) => boolean,
  check: (batch: ReturnType<typeof start>, gap: number | undefined, all: boolean) => void,
) => {
  const timers = mockTimers(t);
  const random = createRandom(seed);
  for (let round = 0; round < 60; round++) {
    let offset = randomBelow(random, 1000);
    const offsets = range(0, 1 + randomBelow(random, 40)).map(() => (offset += 1 + randomBelow(random, 3)));
    const batch = start({ offsets, concurrency: 1 + randomBelow(random, 10) });
    const done = new Set<number>();
    await settle();
    while (!batch.outcome.ended) {
      for (const open of [...batch.open.keys()]) {
        if (random() < 0.6) continue;
        batch.finish(open);
        done.add(open);
        await settle();
      }
      if (onTick(random, batch)) await settle();
      if (!batch.outcome.ended) await timers.advance(TICK_MS);
      const gap = firstGap(offsets, done);
      assert.deepEqual(
        batch.commits,
        [...new Set(batch.commits)].sort((a, b) => a - b),
        "commits only go forward",
      );
      if (!batch.outcome.ended) assert.equal(batch.commits.at(-1), gap);
    }
    const all = done.size === offsets.length;
    check(batch, all ? (offsets.at(-1) ?? 0) + 1 : firstGap(offsets, done), all);
  }
};

test("in whatever order dispatches end, no commit passes one that has not, and all are committed at last", async (t) => {
  await playRandomly(
    t,
    5,
    () => false,
    (batch, end) => {
      assert.equal(batch.outcome.error, undefined);
      assert.equal(batch.commits.at(-1), end);
      assert.equal(new Set(batch.started).size, batch.started.length, "each is dispatched once");
    },
  );
});

test("a stop at any time commits what is done without a gap, and begins nothing more", async (t) => {
  let stopped = 0;
  let startedBefore = 0;
  await playRandomly(
    t,
    6,
    (random, batch) => {
      if (random() > 0.3 || batch.outcome.ended) return false;
      startedBefore = batch.started.length;
      batch.stop.abort(new Error("stopping"));
      return true;
    },
    (batch, end, all) => {
      assert.equal(batch.outcome.error, undefined);
      assert.equal(batch.commits.at(-1), end);
      if (all) return;
      stopped += 1;
      assert.equal(batch.started.length, startedBefore);
      assert.equal(batch.open.size, 0);
    },
  );
  assert.ok(stopped > 20, `only ${stopped} batches were stopped midway`);
});

for (const fault of ["heartbeat", "commit"] as const) {
  test(`a ${fault} that fails ends the batch with its error: nothing more is begun, what is done is committed if it can be`, async (t) => {
    const failure = new Error(`${fault} failed`);
    let failed = 0;
    let before = { started: 0, commits: 0 };
    await playRandomly(
      t,
      7,
      (random, batch) => {
        before = { started: batch.started.length, commits: batch.commits.length };
        if (random() < 0.3) batch.faults[fault] = failure;
        return false;
      },
      (batch, end, all) => {
        if (batch.outcome.error === undefined) return assert.ok(all);
        assert.equal(batch.outcome.error, failure);
        failed += 1;
        if (fault === "heartbeat") assert.equal(batch.commits.at(-1), end);
        else assert.equal(batch.commits.length, before.commits);
        if (all) return;
        assert.equal(batch.signal()?.aborted, true);
        assert.equal(batch.started.length, before.started);
        assert.equal(batch.open.size, 0, "dispatches under way are told");
      },
    );
    assert.ok(failed > 20, `only ${failed} batches failed midway`);
  });
}

test("a dispatch under way may end before its batch is left, and is committed with it", async (t) => {
  const timers = mockTimers(t);
  const batch = start({ offsets: [10, 11], concurrency: 2, deaf: true });
  await settle();
  batch.finish(10);
  await settle();
  batch.faults.heartbeat = new Error("rebalancing");
  await timers.advance(TICK_MS);
  await timers.advance(2900);
  assert.equal(batch.outcome.ended, false, "it is waited for");
  batch.finish(11);
  await batch.ended;
  assert.deepEqual([batch.outcome.error, batch.commits], [batch.faults.heartbeat, [12]]);
});

test("a dispatch that does not end is not waited for longer than 3 s: the group waits as well", async (t) => {
  const timers = mockTimers(t);
  const batch = start({ offsets: [10, 11], concurrency: 2, deaf: true });
  await settle();
  batch.finish(10);
  await settle();
  batch.faults.heartbeat = new Error("rebalancing");
  await timers.advance(TICK_MS);
  await timers.advance(3000);
  await batch.ended;
  assert.deepEqual([batch.outcome.error, batch.commits], [batch.faults.heartbeat, [11]]);
});

test("a partition that is another consumer's by now is not committed", async (t) => {
  const timers = mockTimers(t);
  let ours = true;
  const batch = start({ offsets: [10, 11], concurrency: 2, isOurs: () => ours });
  await settle();
  batch.finish(10);
  await timers.advance(TICK_MS);
  assert.deepEqual(batch.commits, [11]);
  ours = false;
  batch.finish(11);
  await batch.ended;
  assert.deepEqual([batch.commits, batch.resolved], [[11], [10]]);
});

test("a heartbeat that fails because of a stop is no failure", async (t) => {
  const timers = mockTimers(t);
  const batch = start({ offsets: [10, 11], concurrency: 2 });
  await settle();
  batch.finish(10);
  await settle();
  batch.faults.heartbeat = new Error("disconnected");
  t.mock.timers.tick(TICK_MS);
  batch.stop.abort(new Error("stopping"));
  await timers.advance(0);
  await batch.ended;
  assert.equal(batch.heartbeats(), 1);
  assert.deepEqual([batch.outcome.error, batch.commits], [undefined, [11]]);
});

test("a dispatch that fails, against its contract, fails the batch", async (t) => {
  mockTimers(t);
  const batch = start({ offsets: range(10, 4), concurrency: 2 });
  await settle();
  batch.finish(10);
  await settle();
  const failure = new TypeError("a mistake in the code");
  batch.open.get(11)?.reject(failure);
  await batch.ended;
  assert.equal(batch.outcome.error, failure);
  assert.deepEqual(batch.commits, [11]);
  assert.equal(batch.signal()?.aborted, true);
});
