import assert from "node:assert/strict";
import { test } from "node:test";
import { drawPlot, type Plot } from "../../bench/plot.ts";

const points = [
  { x: 1, y: 1 },
  { x: 2, y: 3 },
];
const plot = (series: Plot["series"]): Plot => ({
  file: "x",
  title: "a < b",
  x: { label: "how many" },
  y: { label: "how much" },
  series,
});

/** The looks of the lines, the topmost last. */
const linesOf = (svg: string) =>
  [
    ...svg.matchAll(
      /<g class="(\w+)" style="color: var\(--series-(\d)\)" clip[^>]*><path class="line" stroke-dasharray="([^"]+)"/g,
    ),
  ].map(([, name, colour, dash]) => [name, colour, dash]);

test("a contender has one colour in every plot, and this worker is drawn above all, and stronger", () => {
  const ours = { name: "this worker", points };
  const plain = { name: "plain", of: "plain" as const, points };
  const bare = { name: "bare", of: "bare" as const, points };
  const first = linesOf(drawPlot(plot([ours, plain, bare])));
  assert.deepEqual(
    first.map(([name]) => name),
    ["other", "other", "own"],
  );
  const second = linesOf(drawPlot(plot([ours, { ...ours, name: "another way" }, plain])));
  assert.deepEqual(second, [first[1], ["other", first[2]?.[1], "7 4"], first[2]]);
  assert.equal(new Set(first.map(([, colour]) => colour)).size, 3);
});

test("axes are named, and a title is text", () => {
  const svg = drawPlot(plot([{ name: "this worker", points }]));
  for (const label of ["how many", "how much", "a &lt; b"])
    assert.ok(svg.includes(`>${label}</text>`), label);
});
