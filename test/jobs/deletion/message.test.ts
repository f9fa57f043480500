import assert from "node:assert/strict";
import { test } from "node:test";
import { readMessage } from "../../../src/jobs/deletion/message.ts";
import { decodeEnvelope, encodeEnvelope } from "../../../src/worker/envelope.ts";
import { checkId } from "../../../src/worker/message-id.ts";
import { createRandom, randomBelow } from "../../helpers/unit-random.ts";

const settings = { BATCHES_PER_SEGMENT: 7 };
const read = (value: Buffer | string | null) =>
  readMessage({ value: typeof value === "string" ? Buffer.from(value) : value }, settings);

/** As the worker does: an id must also do as the name of an execution. */
const readAndCheck = (value: Buffer | string | null) => {
  const reading = read(value);
  const bad = reading.ok ? checkId(reading.id) : undefined;
  return bad ? { ok: false as const, ...bad } : reading;
};

const accepted: readonly (readonly [value: string, recordId: string])[] = [
  ["plain", "plain"],
  ["  spaces around \n", "spaces around"],
  ["7", "7"],
  ["true", "true"],
  ["null", "null"],
  ["a.b/c?d#e", "a.b/c?d#e"],
  ["Ünïcödé 記録 🙂", "Ünïcödé 記録 🙂"],
  ["'quoted'", "'quoted'"],
  ['"json"', "json"],
  ['  "json"\n', "json"],
  ['" kept "', " kept "],
  ['"\\u00e9"', "é"],
  ['["first"]', "first"],
  ['["first", 7, {"more": []}]', "first"],
  ['[ "first" ]', "first"],
  ["\ufeffbyte order mark", "byte order mark"],
  ["x".repeat(255), "x".repeat(255)],
  [JSON.stringify("x".repeat(255)), "x".repeat(255)],
  ['{"recordId": "named"}', "named"],
  [' {"more": [1], "recordId": "named"} ', "named"],
  ["__inf__", "__inf__"],
  ["__INF__", "__INF__"],
  ['["__NEG_INF__"]', "__NEG_INF__"],
  ['{"recordId": "__proto__"}', "__proto__"],
];
for (const [value, recordId] of accepted) {
  test(`${JSON.stringify(value).slice(0, 60)} names a record`, () => {
    const expected = { ok: true, id: recordId, input: { recordId, batchesPerSegment: 7 } };
    assert.deepEqual(readAndCheck(value), expected);
  });
}

const refused: Readonly<Record<string, readonly (Buffer | string | null)[]>> = {
  "empty-value": [null, ""],
  "invalid-utf8": [Buffer.from([0xff]), Buffer.from([0x61, 0xc3]), Buffer.from([0xed, 0xa0, 0x80])],
  "invalid-json": ["[", '"open', "{", '["a" "b"]', "[1,]", '"a" b', "[\n x]"],
  "unexpected-json-shape": [
    "[]",
    "{}",
    "[7]",
    "[null]",
    '[["nested"]]',
    '{"recordId": 7}',
    '{"recordId": ["x"]}',
    '{"RecordId": "x"}',
    `[{"recordId": "x"}]`,
  ],
  "id-empty": [" ", "\n\t", '""', '[""]', "\ufeff"],
  "id-too-long": ["x".repeat(256), JSON.stringify(["x".repeat(256)]), "🙂".repeat(128)],
  "id-control-character": ["a\u0000b", "a\nb", "a\u001fb", "a\u007fb", "a\u0085b", '"\\n"', '["\\u0000"]'],
  "id-colon": [":", "a:b", '"a:"', "http://x"],
  "id-ill-formed": ['"\\ud800"', '["a\\udc00b"]', '"\\ude42\\ud83d"'],
};
for (const [reason, values] of Object.entries(refused)) {
  test(`${reason}: no record is named, and it says what was expected`, () => {
    for (const value of values) {
      const result = readAndCheck(value);
      assert.ok(!result.ok, `${JSON.stringify(value)} was taken`);
      assert.equal(result.reason, reason, JSON.stringify(value));
      assert.notEqual(result.detail, "");
      // Details go to a log of one line a call.
      assert.doesNotMatch(result.detail, /\p{Cc}/u);
    }
  });
}

test("a detail stays short however large the value", () => {
  for (const value of ["x".repeat(1e6), `["${"x".repeat(1e6)}`, `{"${"x".repeat(1e6)}": }`]) {
    const result = readAndCheck(value);
    assert.ok(!result.ok && result.detail.length < 300);
  }
});

/** One hostile value: each kind is in turn a likely way to break a parser. */
const kinds: readonly ((random: () => number) => Buffer)[] = [
  (random) => Buffer.from(Array.from({ length: randomBelow(random, 40) }, () => randomBelow(random, 256))),
  (random) => {
    const text = Buffer.from(`"é記🙂${randomBelow(random, 1000)}"`);
    text[randomBelow(random, text.length)] = randomBelow(random, 256);
    return text;
  },
  (random) => Buffer.from("🙂é".repeat(30)).subarray(randomBelow(random, 60), 60 + randomBelow(random, 60)),
  (random) => {
    const unit = `\\u${randomBelow(random, 0x10000).toString(16).padStart(4, "0")}`;
    return Buffer.from(random() < 0.5 ? `"a${unit}"` : `["${unit}${unit}"]`);
  },
  (random) => Buffer.from(String.fromCodePoint(randomBelow(random, 0xd800)) + (random() < 0.5 ? "" : "x")),
  (random) => {
    const tokens = ['"', "[", "]", "{", "}", ":", ",", "\\", "a", " ", "\n", "0", "null", "\\u", "__INF__"];
    const pick = () => tokens[randomBelow(random, tokens.length)] ?? "";
    return Buffer.from(Array.from({ length: 1 + randomBelow(random, 12) }, pick).join(""));
  },
  (random) => {
    const id = "x".repeat(250 + randomBelow(random, 10));
    return Buffer.from([id, JSON.stringify(id), JSON.stringify([id])][randomBelow(random, 3)] ?? id);
  },
  (random) => {
    const id =
      ["__INF__", "__NEG_INF__", "__proto__", "constructor", "toString"][randomBelow(random, 5)] ?? "";
    return Buffer.from(
      [id, JSON.stringify(id), JSON.stringify([id]), `{"${id}":1}`][randomBelow(random, 4)] ?? id,
    );
  },
];
const large = [
  "[".repeat(100_000),
  "[".repeat(100_000) + "]".repeat(100_000),
  '{"a":'.repeat(100_000),
  `["id"${",[]".repeat(300_000)}]`,
  "x".repeat(1_000_000),
  `"${"x".repeat(1_000_000)}"`,
  `"${"\\u0041".repeat(200_000)}"`,
  "\u0000".repeat(1_000_000),
  "🙂".repeat(250_000),
  " ".repeat(1_000_000),
].map((text) => Buffer.from(text));

test("10,000 hostile values: none throws, each has an id within the bounds or a reason", () => {
  const random = createRandom(2);
  const reasons = new Set<string>(Object.keys(refused));
  const seen = new Map<string, number>();
  for (let round = 0; round < 10_000; round++) {
    const value = large[round] ?? kinds[round % kinds.length]?.(random) ?? Buffer.alloc(0);
    const shown = `value ${round}: ${value.subarray(0, 100).toString("hex")}`;
    const result = readAndCheck(value);
    seen.set(result.ok ? "ok" : result.reason, (seen.get(result.ok ? "ok" : result.reason) ?? 0) + 1);
    if (!result.ok) {
      assert.ok(reasons.has(result.reason), shown);
      assert.ok(result.detail.length > 0 && !/\p{Cc}/u.test(result.detail), `${shown}: ${result.detail}`);
      continue;
    }
    const { id: recordId, input } = result;
    assert.ok(recordId.length >= 1 && recordId.length <= 255, shown);
    assert.ok(recordId.isWellFormed() && !/[:\p{Cc}]/u.test(recordId), shown);
    assert.equal(input.recordId, recordId, shown);
    // As an argument of an execution it must come back as it went.
    const envelope = { id: recordId, partition: 0, offset: "0", redrives: 0, deadline: 0, args: [input] };
    assert.deepEqual(decodeEnvelope(encodeEnvelope(envelope)), envelope, shown);
  }
  // Had the generator gone wrong, this test would prove nothing.
  for (const outcome of ["ok", ...reasons])
    assert.ok((seen.get(outcome) ?? 0) > 0, `${outcome} did not occur`);
});
