import assert from "node:assert/strict";
import { test } from "node:test";
import { readLines } from "../../src/resonate/lines.ts";

const linesOf = async (pieces: readonly string[], maxLength = 100) => {
  const lines: string[] = [];
  for await (const line of readLines(
    (async function* () {
      yield* pieces;
    })(),
    maxLength,
  ))
    lines.push(line);
  return lines;
};

test("lines come whole, however they are cut; what has no end is no line", async () => {
  assert.deepEqual(await linesOf(["a\nb", "", "c\n\nd", "\n", "e"]), ["a", "bc", "", "d"]);
  assert.deepEqual(await linesOf([..."one\ntwo\n"]), ["one", "two"]);
  assert.deepEqual(await linesOf([]), []);
});

test("a line that is too long is an error, also before its end", async () => {
  assert.deepEqual(await linesOf(["123\n", "45", "6\n"], 3), ["123", "456"]);
  await assert.rejects(linesOf(["12", "34"], 3), /at most 3 characters/);
});

test("a long line is looked at once", async () => {
  const began = performance.now();
  const piece = "x".repeat(1000);
  const [line] = await linesOf([...Array.from({ length: 20_000 }, () => piece), "\n"], 1e9);
  assert.equal(line?.length, 20_000_000);
  assert.ok(performance.now() - began < 5000);
});
