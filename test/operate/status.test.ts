import assert from "node:assert/strict";
import { test } from "node:test";
import { stripVTControlCharacters } from "node:util";
import type { Extent } from "../../src/kafka/topic-reader.ts";
import { readPartitions, readRetention } from "../../src/operate/broker-status.ts";
import type { Status } from "../../src/operate/status.ts";
import { statusLines } from "../../src/operate/status-text.ts";
import { duration } from "../../src/operate/text.ts";

const AT = "2026-11-25T12:00:00.000Z";

const done: Status = {
  at: AT,
  service: "deletion:source",
  topic: "source",
  group: "group",
  isDone: true,
  lag: 0,
  partitions: [{ partition: 0, committed: 7, lag: 0, lost: 0 }],
  threatened: [],
  members: [{ worker: "1-a", host: "127.0.0.1", partitions: [0] }],
  inFlight: 0,
  asleep: 0,
  elsewhere: [],
  completions: 7,
  deadLetters: { waiting: {}, drivenAgain: 0, unread: 0 },
};

const linesOf = (status: Partial<Status>) =>
  statusLines({ ...done, ...status }).map(stripVTControlCharacters);

test("a service that is done says so, and what is among its dead letters", () => {
  assert.deepEqual(linesOf({}), [
    "deletion:source: done: every message was read, and no execution is in flight",
    "partition  lag  oldest unread  worker",
    "0          0                   1-a",
    "members       1 worker in consumer group group",
    "in flight     0 executions",
    "completions   7",
    "dead letters  none",
  ]);
  const deadLetters = { waiting: { cancelled: 1, "execution-failed": 2 }, drivenAgain: 4, unread: 5 };
  const [verdict, ...rest] = linesOf({ deadLetters });
  assert.match(verdict ?? "", /no execution is in flight, but there are 3 dead letters$/);
  assert.equal(
    rest.at(-1),
    "dead letters  1 cancelled, 2 execution-failed (4 driven again, 5 older ones not looked at)",
  );
});

test("a lag of 0 is not done while executions sleep", () => {
  const [verdict, , , , flight] = linesOf({
    isDone: false,
    inFlight: 2,
    asleep: 1,
    oldestSince: "2026-11-25T11:00:00.000Z",
    nextWakeAt: "2026-11-25T12:00:05.000Z",
  });
  assert.equal(
    verdict,
    "deletion:source: not done: every message was read, 2 executions in flight, 1 of them asleep.",
  );
  assert.equal(flight, "in flight     2 executions, the oldest for 1 h, 1 asleep, next wake-up in 5 s");
});

test("what is in danger, lost, or waits elsewhere is said above all else", () => {
  const lines = linesOf({
    isDone: false,
    lag: 3,
    members: [],
    partitions: [{ partition: 0, lag: 3, lost: 2, oldestUnread: { offset: "9", at: AT, ageMs: 50_000 } }],
    retentionMs: 60_000,
    threatened: [0],
    elsewhere: [
      { needs: { group: "old" }, count: 1 },
      { needs: { version: 1 }, count: 2 },
    ],
  });
  assert.deepEqual(lines.slice(0, 7), [
    "deletion:source: not done: 3 messages unread, 0 executions in flight. No worker reads messages.",
    "partition 0: the oldest unread message is past half of the topic's retention (1 min), after which it is lost",
    "partition 0: 2 messages removed unread",
    "waiting elsewhere: 1 execution in worker group old: a worker with RESONATE_GROUP=old finishes them",
    "waiting elsewhere: 2 executions of version 1 of the workflow, for a worker that has it",
    "partition  lag  oldest unread    worker",
    "0          3    50 s (offset 9)",
  ]);
});

test("durations are said in the largest unit that fits", () => {
  const said = [0, 999, 1000, 61_500, 5_400_000, 90_000_000].map(duration);
  assert.deepEqual(said, ["0 ms", "999 ms", "1 s", "1 min", "1.5 h", "1 d"]);
});

/** A broker that has three partitions: one that is read to its end, one that is not, and one that let messages go. */
const admin = {
  fetchOffsets: async () => [
    {
      topic: "source",
      partitions: [
        { partition: 0, offset: "5", metadata: null },
        { partition: 1, offset: "-1", metadata: null },
        { partition: 2, offset: "3", metadata: null },
      ],
    },
  ],
};

test("the lag, the oldest unread message and what was lost are told for each partition", async () => {
  const read: [number, Extent][] = [];
  const reader = {
    extents: async () =>
      new Map([
        [2, { start: 10n, end: 12n }],
        [0, { start: 0n, end: 5n }],
        [1, { start: 0n, end: 4n }],
      ]),
    read: async function* (_topic: string, partition: number, extent: Extent) {
      read.push([partition, extent]);
      // Control records only, at first.
      yield { messages: [], next: extent.start };
      const timestamp = String(Date.parse(AT) - 1000);
      const bytes = { key: null, value: null, headers: {} };
      const message = { ...bytes, attributes: 0, offset: String(extent.start), timestamp };
      yield { messages: [message], next: extent.end };
    },
  };
  const oldestUnread = (offset: string) => ({ offset, at: "2026-11-25T11:59:59.000Z", ageMs: 1000 });
  const sources = { groupId: "group", topic: "source", now: Date.parse(AT) };
  assert.deepEqual(await readPartitions(admin, reader, sources), [
    { partition: 0, committed: 5, lag: 0, lost: 0 },
    { partition: 1, lag: 4, lost: 0, oldestUnread: oldestUnread("0") },
    { partition: 2, committed: 3, lag: 2, lost: 7, oldestUnread: oldestUnread("10") },
  ]);
  assert.deepEqual(read.map(([partition]) => partition).toSorted(), [1, 2]);
});

test("the retention is that of a topic that time removes messages from, where the broker tells it", async () => {
  const adminOf = (entries: Record<string, string> | undefined) => ({
    describeConfigs: async () => {
      if (entries === undefined) throw new Error("not supported");
      const configEntries = Object.entries(entries).map(([configName, configValue]) => ({
        ...{ configName, configValue, isDefault: false, configSource: 1 },
        ...{ isSensitive: false, readOnly: false, configSynonyms: [] },
      }));
      const resource = {
        configEntries,
        errorCode: 0,
        errorMessage: "",
        resourceName: "source",
        resourceType: 2,
      };
      return { resources: [resource], throttleTime: 0 };
    },
  });
  const retentionOf = (entries?: Record<string, string>) => readRetention(adminOf(entries), "source");
  assert.equal(await retentionOf({ "retention.ms": "60000", "cleanup.policy": "delete" }), 60_000);
  assert.equal(await retentionOf({ "retention.ms": "60000", "cleanup.policy": "compact,delete" }), 60_000);
  assert.equal(await retentionOf({ "retention.ms": "-1", "cleanup.policy": "delete" }), undefined);
  assert.equal(await retentionOf({ "retention.ms": "60000", "cleanup.policy": "compact" }), undefined);
  assert.equal(await retentionOf(undefined), undefined);
});
