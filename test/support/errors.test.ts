import assert from "node:assert/strict";
import { test } from "node:test";
import { describe, toError } from "../../src/support/errors.ts";

test("an error stays itself, anything else becomes the cause of one", () => {
  const error = new TypeError("as it is");
  assert.equal(toError(error), error);
  for (const thrown of ["text", 7, null, undefined, { code: 1 }]) {
    const made = toError(thrown);
    assert.equal(made.message, String(thrown));
    assert.equal(made.cause, thrown);
  }
});

test("a description holds the messages of all causes, outermost first, each once, on one line", () => {
  const root = new Error("connect ECONNREFUSED\n  127.0.0.1:1");
  const middle = new Error("fetch failed", { cause: root });
  assert.equal(
    describe(new Error("no answer", { cause: middle })),
    "no answer: fetch failed: connect ECONNREFUSED 127.0.0.1:1",
  );
  assert.equal(describe(new Error("fetch failed", { cause: middle })), describe(middle));
  assert.equal(describe(new Error("outer: inner", { cause: new Error("inner") })), "outer: inner");
});

test("an error without a message is named", () => {
  assert.equal(describe(new RangeError()), "RangeError");
});

test("an error whose message or name is no text is described all the same", () => {
  assert.equal(describe(Object.assign(new Error("x"), { message: 7 })), "7");
  assert.equal(describe(Object.assign(new Error(), { name: 1n })), "1");
});

test("what is no error is described too", () => {
  for (const thrown of ["text", 7, null, undefined, false, Symbol("s")]) {
    assert.equal(describe(thrown), String(thrown));
  }
  assert.equal(describe(new Error("outer", { cause: "inner" })), "outer: inner");
  assert.equal(describe(new Error("outer", { cause: null })), "outer: null");
});

test("causes that go in a circle or on for ever come to an end", () => {
  const circle = new Error("circle");
  circle.cause = new Error("and back", { cause: circle });
  assert.equal(describe(circle), "circle: and back");

  let deep = new Error("cause 100");
  for (let level = 99; level > 0; level--) deep = new Error(`cause ${level}`, { cause: deep });
  assert.equal(describe(deep).split(": ").length, 5);
});
