import assert from "node:assert/strict";
import { test } from "node:test";
import { doTogether } from "../../src/support/together.ts";

/** Adds up to what was asked for in each go, and fails where "bad" is among it. */
const build = (isOnes?: (error: unknown) => boolean) => {
  const goes: string[][] = [];
  const begun: (() => void)[] = [];
  const ask = doTogether(
    async (items: readonly string[]) => {
      goes.push([...items]);
      if (items.includes("bad")) throw new Error(`bad among ${items.length}`);
      return items.map((item) => item.toUpperCase());
    },
    { wait: (begin) => void begun.push(begin), ...(isOnes && { isOnes }) },
  );
  return { ask, goes, begin: () => begun.shift()?.() };
};

test("what is asked for before the wait is over is done in one go, each with its own result", async () => {
  const { ask, goes, begin } = build();
  const first = [ask("a"), ask("b")];
  begin();
  const second = ask("c");
  begin();
  assert.deepEqual(await Promise.all([...first, second]), ["A", "B", "C"]);
  assert.deepEqual(goes, [["a", "b"], ["c"]]);
});

test("where all fail each is done alone: one that fails fails none of the others", async () => {
  const { ask, goes, begin } = build();
  const asked = [ask("a"), ask("bad"), ask("b")];
  begin();
  const outcomes = await Promise.allSettled(asked);
  assert.deepEqual(
    outcomes.map((outcome) => (outcome.status === "fulfilled" ? outcome.value : outcome.reason.message)),
    ["A", "bad among 1", "B"],
  );
  assert.deepEqual(goes, [["a", "bad", "b"], ["a"], ["bad"], ["b"]]);
});

test("a failure that is everybody's is not tried again", async () => {
  const { ask, goes, begin } = build(() => false);
  const asked = [ask("a"), ask("bad")];
  begin();
  for (const one of asked) await assert.rejects(one, /bad among 2/);
  assert.equal(goes.length, 1);
});
