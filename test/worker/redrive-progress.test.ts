import assert from "node:assert/strict";
import { test } from "node:test";
import {
  advance,
  decodeProgress,
  encodeProgress,
  isDone,
  type Progress,
} from "../../src/worker/redrive-progress.ts";
import { createRandom, randomBelow } from "../helpers/unit-random.ts";

test("whatever reasons are driven in whatever order, each letter is driven once", () => {
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
      for (let offset = 0; offset < end; offset++) {
        const own = letters[offset] ?? "a";
        if ((reason !== undefined && reason !== own) || isDone(progress, BigInt(offset), own)) continue;
        driven.set(offset, (driven.get(offset) ?? 0) + 1);
        const last = { offset: String(offset), timestamp: "0" };
        progress = decodeProgress(encodeProgress(advance(progress, BigInt(offset) + 1n, reason, last)));
      }
    }
    assert.equal(driven.size, letters.length);
    assert.ok([...driven.values()].every((times) => times === 1));
  }
});

test("what is on record stays small: a reason is kept only beyond what is done of all", () => {
  const last = { offset: "8", timestamp: "1" };
  const one = advance(undefined, 5n, "a", last);
  assert.deepEqual([one.all, [...one.reasons]], [0n, [["a", 5n]]]);
  const all = advance(advance(one, 9n, "b", last), 7n, undefined, last);
  assert.deepEqual([all.all, [...all.reasons]], [7n, [["b", 9n]]]);
  assert.deepEqual(decodeProgress(encodeProgress(all)), all);
});
