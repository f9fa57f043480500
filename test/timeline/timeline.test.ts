import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { parseEventLine, tellDeed } from "../../src/timeline/event-line.ts";
import { openEventTail } from "../../src/timeline/event-tail.ts";
import { createTimeline } from "../../src/timeline/timeline.ts";
import { event, takeoverEvents } from "./event-lines.ts";

const read = (events = takeoverEvents()) => {
  const timeline = createTimeline();
  for (const line of events) timeline.add(line);
  return timeline;
};
const spansOf = (timeline: ReturnType<typeof read>, id: string) =>
  timeline.lanes.get(id)?.spans.map(({ state, from, to, worker, end }) => [state, from, to, worker, end]);

test("a record is queued, runs, sleeps, is due, and goes on elsewhere", () => {
  const timeline = read();
  assert.deepEqual(spansOf(timeline, "a"), [
    ["queued", 50, 100, undefined, undefined],
    ["queued", 100, 110, 0, undefined],
    ["running", 110, 150, 0, "done"],
    ["queued", 150, 160, 0, undefined],
    ["asleep", 160, 400, undefined, undefined],
    ["queued", 400, 450, undefined, undefined],
    ["queued", 450, 455, 1, undefined],
    ["running", 455, 480, 1, "done"],
    ["queued", 480, 490, 1, undefined],
  ]);
  assert.equal(timeline.lanes.get("a")?.outcome, "finished");
  assert.equal(timeline.isOver, false);
});

test("a kill cuts the step that runs; its takeover has the measured gap, and the ledger's answer is seen", () => {
  const timeline = read();
  assert.deepEqual(spansOf(timeline, "b"), [
    ["queued", 200, 210, 0, undefined],
    ["running", 210, 220, 0, "failed"],
    ["retrying", 220, 240, 0, undefined],
    ["running", 240, 300, 0, "cut"],
    ["orphaned", 300, 600, 0, undefined],
    ["queued", 600, 610, 1, undefined],
    ["running", 610, 621, 1, "answered"],
    ["queued", 621, Number.POSITIVE_INFINITY, 1, undefined],
  ]);
  assert.deepEqual(timeline.strikes, [{ at: 300, worker: 0, kind: "SIGKILL" }]);
  const [takeover] = timeline.takeovers;
  assert.deepEqual(
    [takeover?.at, takeover?.id, takeover?.from, takeover?.by, takeover?.gapMs],
    [600, "b", 0, 1, 300],
  );
});

test("where nobody told of the kill, the gap counts from when the worker was last heard of", () => {
  const timeline = read(takeoverEvents().filter((line) => line.event !== "worker.struck"));
  assert.deepEqual(timeline.strikes, [{ at: 240, worker: 0, kind: "lost" }]);
  assert.equal(timeline.takeovers[0]?.gapMs, 360);
  assert.deepEqual(spansOf(timeline, "b")?.slice(3, 5), [
    ["running", 240, 240, 0, "cut"],
    ["orphaned", 240, 600, 0, undefined],
  ]);
});

test("a second takeover counts from the second loss, though the first worker had begun the step", () => {
  const again = {
    id: "b",
    executionId: "b",
    from: "1-aa",
    step: "deleteBatch",
    key: "deletion/b/deleteBatch/0",
  };
  const timeline = read([
    ...takeoverEvents().filter(({ time }) => time <= 610),
    event(700, 2, "worker.struck", { kind: "SIGKILL" }),
    event(900, 3, "execution.resumed", { id: "b", executionId: "b", lease: 3 }),
    event(901, 3, "execution.taken-over", again),
  ]);
  assert.deepEqual(
    timeline.takeovers.map(({ from, by, gapMs }) => [from, by, gapMs]),
    [
      [0, 1, 300],
      [1, 2, 201],
    ],
  );
});

test("a worker that died before it was ready is known by its process id", () => {
  const timeline = read(takeoverEvents().filter((line) => line.event !== "worker.ready"));
  assert.deepEqual([timeline.workers.length, timeline.takeovers[0]?.gapMs], [2, 300]);
});

test("what a worker tells of a record that another one has by now changes nothing", () => {
  const timeline = read();
  const before = spansOf(timeline, "b");
  const late = {
    id: "b",
    executionId: "b",
    step: "deleteBatch",
    key: "k",
    attempt: 2,
    result: "done",
    ms: 9,
  };
  timeline.add(event(700, 2, "step.begun", { ...late, attempt: 1 }));
  timeline.add(event(710, 1, "step.ended", late));
  assert.equal(timeline.lanes.get("b")?.current?.state, "running");
  assert.equal(spansOf(timeline, "b")?.length, (before?.length ?? 0) + 1);
});

test("a later piece of a long record is the same lane, and the piece before it, which waits, is not asleep", () => {
  const timeline = read([
    event(1, 1, "execution.started", { id: "a", executionId: "a" }),
    event(2, 1, "execution.started", { id: "a", executionId: "a:d1" }),
    event(3, 1, "step.begun", { id: "a", executionId: "a:d1", step: "s", key: "k", attempt: 1 }),
    event(4, 1, "execution.suspended", { id: "a", executionId: "a" }),
    event(5, 1, "step.ended", {
      id: "a",
      executionId: "a:d1",
      step: "s",
      key: "k",
      attempt: 1,
      result: "done",
    }),
    event(6, 1, "execution.ended", { id: "a", executionId: "a:d1", isWhole: false, outcome: "finished" }),
  ]);
  assert.deepEqual(
    timeline.lanes.get("a")?.spans.map(({ state }) => state),
    ["queued", "queued", "running", "queued"],
  );
  assert.equal(timeline.lanes.get("a")?.outcome, undefined);
});

test("a line that is no event is none; a fault is one", () => {
  for (const line of [
    "",
    "12:00 [worker] ready",
    "{",
    "[]",
    "null",
    '{"time":1,"pid":2}',
    '{"event":"x","pid":2}',
  ]) {
    assert.equal(parseEventLine(line), undefined, line);
  }
});

test("what is done to a worker is written among the events", (t) => {
  const folder = mkdtempSync(join(tmpdir(), "deeds-"));
  t.after(() => rmSync(folder, { recursive: true }));
  const path = join(folder, "events");
  using tail = openEventTail(path);
  tellDeed(path, { event: "worker.struck", pid: 7, kind: "SIGKILL" });
  tellDeed("", { event: "worker.spawned", pid: 8 });
  const [deed, ...rest] = tail.read();
  assert.deepEqual([deed?.event, deed?.pid, deed?.text("kind"), rest], ["worker.struck", 7, "SIGKILL", []]);
});
