import assert from "node:assert/strict";
import { test } from "node:test";
import { readJson, readText } from "../../src/support/read-json.ts";

test("text is UTF-8, trimmed, without a byte order mark", () => {
  for (const [value, text] of [
    ["plain", "plain"],
    ["  spaces around \n", "spaces around"],
    ["\ufeffbyte order mark", "byte order mark"],
    ["記録 🙂", "記録 🙂"],
    [" ", ""],
  ] as const) {
    assert.deepEqual(readText(Buffer.from(value)), { ok: true, text });
  }
});

test("JSON may have any shape", () => {
  for (const json of [{ orderId: "1", amount: 12.5 }, [1, [2]], "text", 7, true, null]) {
    assert.deepEqual(readJson(Buffer.from(` ${JSON.stringify(json)}\n`)), { ok: true, json });
  }
});

const unreadable: Readonly<Record<string, readonly (Buffer | null)[]>> = {
  "empty-value": [null, Buffer.alloc(0)],
  "invalid-utf8": [Buffer.from([0xff]), Buffer.from([0x61, 0xc3]), Buffer.from([0xed, 0xa0, 0x80])],
  "invalid-json": [
    "[",
    '"open',
    "{",
    "[1,]",
    '"a" b',
    "[\n x]",
    "bare",
    " ",
    '"\u001b[31m',
    "[".repeat(100_000),
  ].map((text) => Buffer.from(text)),
};
for (const [reason, values] of Object.entries(unreadable)) {
  test(`${reason}: told on one line without control characters`, () => {
    for (const value of values) {
      const read = readJson(value);
      assert.ok(!read.ok && read.reason === reason, JSON.stringify(read));
      assert.notEqual(read.detail, "");
      assert.doesNotMatch(read.detail, /\p{Cc}/u);
      assert.ok(read.detail.length < 300, `${read.detail.length} characters`);
      if (reason !== "invalid-json") assert.deepEqual(readText(value), read);
    }
  });
}
