import assert from "node:assert/strict";
import { test } from "node:test";
import { stripVTControlCharacters, styleText } from "node:util";
import type { DemoState } from "../../src/demo/demo-view.ts";
import { type DrawOptions, drawLive } from "../../src/demo/draw-live.ts";
import { createTimeline } from "../../src/timeline/timeline.ts";
import { takeoverEvents } from "../timeline/event-lines.ts";

const stateOf = (records: DemoState["records"], until = Number.POSITIVE_INFINITY): DemoState => {
  const timeline = createTimeline();
  for (const line of takeoverEvents()) if (line.time <= until) timeline.add(line);
  return {
    timeline,
    records,
    count: records.length,
    done: 1,
    applied: [1, 2],
    startedAt: 0,
    leaseMs: 3000,
  };
};
const plain = (own: Partial<DrawOptions> = {}): DrawOptions => ({
  columns: 80,
  rows: 24,
  notes: [],
  paint: (_, text) => text,
  isColoured: false,
  now: 500,
  ...own,
});
const records = (count: number) =>
  Array.from({ length: count }, (_, i) => ({ id: ["a", "b"][i] ?? `record-${i}`, batches: 2 }));

test("a cell a batch with the letter of its worker, the kill a mark across all lanes", () => {
  const [, , first = "", second = ""] = drawLive(stateOf(records(2)), plain({ columns: 40 })).split("\n");
  assert.match(first, /^a A┃B/);
  assert.match(second, /^b ┃◆··/);
  const before = drawLive(stateOf(records(2), 250), plain({ columns: 40 })).split("\n");
  assert.match(before[2] ?? "", /^a Az··/);
  assert.match(before[3] ?? "", /^b >··/);
});

test("a retry is seen, a cut step is, and what all wait for is said", () => {
  assert.match(drawLive(stateOf(records(2), 230), plain()), /^b ↻|\bb ↻/m);
  const cut = drawLive(stateOf(records(2), 300), plain({ now: 1300 }));
  assert.match(cut, /\bb ✗┃/);
  assert.match(cut, /1 waiting for the lease of worker A, 2\.0 s, 1 asleep/);
  assert.match(cut, /worker A: 1 killed {3}B worker B: 2 batches/);
});

test("a record that was cut between two steps is seen, too", () => {
  const state = stateOf(records(2), 150);
  for (const line of takeoverEvents()) if (line.event === "worker.struck") state.timeline.add(line);
  assert.match(drawLive(state, plain()), /^a A┃✗··/m);
});

test("25 records fit 80 × 24, more scroll, and no line is too long", () => {
  const notes = Array.from({ length: 5 }, () => "a note that is longer than the terminal ".repeat(3));
  for (const [count, columns, rows] of [
    [25, 80, 24],
    [500, 80, 24],
    [500, 60, 12],
    [3, 30, 10],
  ] as const) {
    const options = plain({
      columns,
      rows,
      notes,
      paint: (format, text) => styleText(format, text, { validateStream: false }),
    });
    const lines = drawLive(stateOf(records(count)), options)
      .split("\n")
      .map((line) => stripVTControlCharacters(line));
    assert.ok(lines.length < rows, `${count} records: ${lines.length} lines`);
    for (const line of lines) assert.ok(line.length < columns, line);
  }
  const all = drawLive(stateOf(records(25)), plain());
  for (const { id } of records(25)) assert.ok(all.includes(id.slice(0, 8)), id);
  // The first one is done: the window begins with it, since it is the one before the first that is not.
  assert.doesNotMatch(drawLive(stateOf(records(500)), plain()), /record-4\d\d/);
});

test("without colours there is no code for any", () => {
  assert.equal(drawLive(stateOf(records(25)), plain()).includes("\u001b"), false);
});
