import assert from "node:assert/strict";
import { test } from "node:test";
import { parseCount, SettingsError } from "../../src/support/settings.ts";

test("whole numbers from 1 to the maximum are taken", () => {
  for (const [text, count] of [
    ["1", 1],
    ["25", 25],
    ["1000", 1000],
    ["007", 7],
  ] as const) {
    assert.equal(parseCount("-n", text, { max: 1000 }), count);
  }
});

test("anything else is told with the option, what was expected and what was got", () => {
  for (const text of [
    "",
    "0",
    "-1",
    "1001",
    "1.5",
    "1e2",
    "0x10",
    " 5",
    "5 ",
    "Infinity",
    "٣",
    "9".repeat(30),
  ]) {
    assert.throws(
      () => parseCount("-n", text, { max: 1000 }),
      (error) =>
        error instanceof SettingsError &&
        error.message === `-n: expected a whole number from 1 to 1000, got ${JSON.stringify(text)}`,
      text,
    );
  }
});
