import assert from "node:assert/strict";
import { test } from "node:test";
import { createCommitPrefix } from "../../src/worker/commit-prefix.ts";
import { createRandom, randomBelow, shuffled } from "../helpers/unit-random.ts";

test("nothing is done at first", () => {
  assert.equal(createCommitPrefix().length, 0);
});

test("the prefix waits at a gap and jumps once it is filled", () => {
  const prefix = createCommitPrefix();
  const lengths = [1, 2, 4, 0, 3].map((index) => {
    prefix.done(index);
    return prefix.length;
  });
  assert.deepEqual(lengths, [0, 0, 0, 3, 5]);
});

test("in any order the prefix is what counting from the first finds", () => {
  const random = createRandom(1);
  for (let round = 0; round < 500; round++) {
    const size = randomBelow(random, 60);
    const done = new Set<number>();
    const prefix = createCommitPrefix();
    for (const index of shuffled(random, [...Array(size).keys()])) {
      prefix.done(index);
      done.add(index);
      let counted = 0;
      while (done.has(counted)) counted += 1;
      assert.equal(prefix.length, counted, `round ${round}: done ${[...done]}`);
    }
    assert.equal(prefix.length, size);
  }
});
