import assert from "node:assert/strict";
import { test } from "node:test";
import { withStars } from "../../src/worker/yield-star.ts";

/** Answers each value that is yielded with its double, and an odd one with an error. */
const drive = (flow: Generator<unknown, unknown, unknown>): unknown => {
  let step = flow.next();
  while (!step.done) {
    const { value } = step;
    assert.ok(typeof value === "number");
    step = value % 2 === 0 ? flow.next(value * 2) : flow.throw(new Error(`${value} is odd`));
  }
  return step.value;
};

function* call(value: number): Generator<unknown, unknown, unknown> {
  return yield value;
}

test("a workflow with its stars gets what it asks for, errors included", () => {
  function* flow(): Generator<unknown, unknown, unknown> {
    const two = yield* call(2);
    try {
      yield* call(3);
    } catch (error) {
      return [two, String(error)];
    }
    return;
  }
  assert.deepEqual(drive(withStars(flow())), [4, "Error: 3 is odd"]);
});

test("a workflow that lacks a star ends with an error that says so", () => {
  function* flow(): Generator<unknown, unknown, unknown> {
    yield* call(2);
    return yield call(4);
  }
  assert.throws(() => drive(withStars(flow())), {
    code: "MISSING_STAR",
    canRetry: false,
    message: /`yield\*`/,
  });
});
