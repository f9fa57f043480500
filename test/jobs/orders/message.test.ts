import assert from "node:assert/strict";
import { test } from "node:test";
import { readMessage } from "../../../src/jobs/orders/message.ts";
import { seed } from "../../../src/jobs/orders/seed.ts";

const read = (value: string | Buffer | null) =>
  readMessage({ value: typeof value === "string" ? Buffer.from(value) : value });

for (const [value, orderId, amount] of [
  ['{"orderId": "o-1", "amount": 12.5}', "o-1", 12.5],
  ['  {"amount": 1, "orderId": "é記🙂", "more": [1]}\n', "é記🙂", 1],
  ['{"orderId": "o", "amount": 0.01}', "o", 0.01],
] as const) {
  test(`${JSON.stringify(value)} is an order`, () => {
    assert.deepEqual(read(value), { ok: true, id: orderId, input: { orderId, amount } });
  });
}

const refused: Readonly<Record<string, readonly (string | Buffer | null)[]>> = {
  "empty-value": [null, ""],
  "invalid-utf8": [Buffer.from([0xff])],
  "invalid-json": ["o-1", "{", '{"orderId": "o", "amount": NaN}', "[\n x]"],
  "invalid-order": [
    ...["null", "7", '"o"', "[]", "{}", '[{"orderId": "o", "amount": 1}]'],
    ...['{"amount": 1}', '{"orderId": "", "amount": 1}', '{"orderId": 7, "amount": 1}'],
    ...['{"orderId": "o"}', '{"orderId": "o", "amount": "1"}', '{"orderId": "o", "amount": 0}'],
    ...['{"orderId": "o", "amount": -1}', '{"orderId": "o", "amount": 1e999}'],
    ...['{"orderId": "o", "amount": null}', '{"orderId": "\u0085\u007f",\n "amount": 0}'],
    `{"orderId": "${"x".repeat(1e5)}"}`,
  ],
};
for (const [reason, values] of Object.entries(refused)) {
  test(`${reason}: there is no order, and it says in a short line what was expected`, () => {
    for (const value of values) {
      const reading = read(value);
      assert.ok(!reading.ok, `${value} was taken`);
      assert.equal(reading.reason, reason, String(value));
      assert.notEqual(reading.detail, "");
      assert.ok(reading.detail.length < 300);
      assert.doesNotMatch(reading.detail, /\p{Cc}/u);
    }
  });
}

test("a detail says what was got", () => {
  const reading = read('{"orderId": "o", "amount": -1}');
  assert.ok(!reading.ok);
  assert.match(reading.detail, /above 0, got \{"orderId": "o", "amount": -1\}$/);
});

test("what is seeded are orders, each with an id of its own, keyed by it", () => {
  for (const random of [() => 0, () => 0.9999999]) {
    const messages = seed({ count: 3, random });
    const ids = messages.map(({ key, value }) => {
      const reading = read(value);
      assert.ok(reading.ok, value);
      assert.equal(reading.id, key);
      const { amount } = reading.input;
      assert.ok(amount >= 1 && amount <= 100, value);
      return reading.id;
    });
    assert.equal(new Set(ids).size, 3);
  }
});
