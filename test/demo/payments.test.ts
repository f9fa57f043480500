import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { createPayments, startPayments } from "../../src/demo/payments.ts";
import { createRandom } from "../helpers/unit-random.ts";

const order = (orderId: string, amount: unknown = 12.5) => JSON.stringify({ orderId, amount });
/** Gives the chances in order. */
const chances =
  (...given: number[]) =>
  () =>
    given.shift() ?? assert.fail("expected no more chances");

test("a key is charged once, and a repeated one gets its first answer", () => {
  const payments = createPayments({ failureRate: 0, random: () => 0 });
  const first = payments.charge("k-1", order("a"));
  assert.deepEqual(first, { status: 201, body: { chargeId: "charge-1", orderId: "a", amount: 12.5 } });
  assert.deepEqual(payments.charge("k-1", order("a", 99)), first);
  assert.deepEqual(payments.count(), { charges: 1, orders: 1, doubled: 0 });
});

test("an order that is charged under two keys is counted as doubled", () => {
  const payments = createPayments({ failureRate: 0, random: () => 0 });
  for (const [key, id] of [
    ["1", "a"],
    ["2", "b"],
    ["3", "a"],
    ["4", "a"],
  ] as const)
    payments.charge(key, order(id));
  assert.deepEqual(payments.count(), { charges: 4, orders: 2, doubled: 1 });
});

test("half of the failures come before the charge, half after it", () => {
  const payments = createPayments({ failureRate: 0.2, random: chances(0.09, 0.11, 0.19, 0.2) });
  assert.equal(payments.charge("k", order("a")).status, 500);
  assert.equal(payments.count().charges, 0);
  assert.equal(payments.charge("k", order("a")).status, 500);
  assert.equal(payments.count().charges, 1);
  assert.equal(payments.charge("k", order("a")).status, 500);
  const answer = payments.charge("k", order("a"));
  assert.deepEqual(answer, { status: 201, body: { chargeId: "charge-1", orderId: "a", amount: 12.5 } });
  assert.deepEqual(payments.count(), { charges: 1, orders: 1, doubled: 0 });
});

test("tried until it succeeds, each order is charged once however often the service fails", () => {
  const payments = createPayments({ failureRate: 0.7, random: createRandom(7) });
  let tries = 0;
  for (let i = 0; i < 200; i++) {
    do tries += 1;
    while (payments.charge(`key-${i}`, order(`o-${i}`)).status === 500);
  }
  assert.ok(tries > 400, `${tries} tries`);
  assert.deepEqual(payments.count(), { charges: 200, orders: 200, doubled: 0 });
});

const start = async (t: TestContext, failureRate = 0) => {
  const payments = await startPayments({ port: 0, failureRate, random: createRandom(1) });
  t.after(() => payments[Symbol.asyncDispose]());
  const post = async (headers: Record<string, string>, body: string) => {
    const response = await fetch(`${payments.url}/charges`, { method: "POST", headers, body });
    return { status: response.status, body: await response.json() };
  };
  return { payments, post };
};

test("over HTTP: charges, repeats, counts", async (t) => {
  const { payments, post } = await start(t);
  const first = await post({ "Idempotency-Key": "k" }, order("a"));
  assert.equal(first.status, 201);
  assert.deepEqual(await post({ "Idempotency-Key": "k" }, order("a")), first);
  const counts = await fetch(`${payments.url}/charges`);
  assert.equal(counts.headers.get("content-type"), "application/json");
  assert.deepEqual(await counts.json(), { charges: 1, orders: 1, doubled: 0 });
});

test("over HTTP: what cannot be charged is refused in words, whatever the failure rate", async (t) => {
  const { payments, post } = await start(t, 0.99);
  const key = { "Idempotency-Key": "k" };
  for (const [headers, body, words] of [
    [{}, order("a"), /header Idempotency-Key, got none/],
    [key, "{", /a JSON body, got invalid-json/],
    [key, "", /a JSON body, got empty-value/],
    [key, "null", /an orderId/],
    [key, order(""), /an orderId/],
    [key, order("a", "12"), /an amount above 0/],
    [key, order("a", 0), /an amount above 0/],
  ] as const) {
    const answer = await post(headers, body);
    assert.equal(answer.status, 400, body);
    assert.match(JSON.stringify(answer.body), words);
  }
  const url = payments.url;
  assert.equal((await fetch(`${url}/else`)).status, 404);
  assert.equal((await fetch(`${url}/charges`, { method: "PUT" })).status, 405);
  assert.deepEqual(payments.count(), { charges: 0, orders: 0, doubled: 0 });
});
