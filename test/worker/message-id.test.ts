import assert from "node:assert/strict";
import { test } from "node:test";
import { type BadId, checkId } from "../../src/worker/message-id.ts";

test("an id of 1 to 255 characters may hold whatever a promise id may", () => {
  const ids = [
    "r",
    "7",
    " ",
    "a b",
    "a.b/c?d#e%",
    "=",
    "記録 🙂",
    "x".repeat(255),
    "🙂".repeat(127),
    "__INF__",
  ];
  for (const id of [...ids, "__proto__", "null"]) {
    assert.equal(checkId(id), undefined, id);
  }
});

const bad: Readonly<Record<BadId, readonly string[]>> = {
  "id-empty": [""],
  "id-too-long": ["x".repeat(256), "🙂".repeat(128)],
  "id-control-character": ["a\u0000b", "a\nb", "\u001f", "a\u001f1", "a\u007fb", "a\u0085b"],
  "id-colon": [":", "a:b", "a:", ":a", "http://x"],
  "id-ill-formed": ["\ud800", "a\udc00b", "\ude42\ud83d"],
};
for (const [reason, ids] of Object.entries(bad)) {
  test(`${reason}: told with what was expected, on one short line that does not hold the id`, () => {
    for (const id of ids) {
      const found = checkId(id);
      assert.equal(found?.reason, reason, JSON.stringify(id));
      assert.match(found?.detail ?? "", /^expected /);
      assert.ok((found?.detail.length ?? 0) < 100);
      assert.doesNotMatch(found?.detail ?? "", /\p{Cc}/u);
    }
  });
}
