import assert from "node:assert/strict";
import { defineScenario } from "../../crash-test/scenario.ts";

const order = { orderId: "4711", amount: 12.5 };

/** A payment service in memory. It takes a key once; the charge it makes is answered with an error all the same. */
const createPayments = () => {
  const charges = new Map<string | null, unknown>();
  return {
    charges,
    fetch: async (_url: unknown, { headers, body }: RequestInit = {}) => {
      const key = new Headers(headers).get("Idempotency-Key");
      if (charges.has(key)) return Response.json({});
      charges.set(key, JSON.parse(String(body)));
      return Response.json({}, { status: 500 });
    },
  };
};

/** An order whose charge takes effect at its first try, which fails. */
export const scenario = defineScenario({
  message: { key: order.orderId, value: JSON.stringify(order) },
  effects: createPayments,
  expect: ({ effects: { charges }, calls, published }) => {
    assert.deepEqual([...charges.values()], [order], "expected one charge");
    const names = calls.map(({ name }) => name);
    assert.ok(names.indexOf("fetch") < names.indexOf("publish"), "expected the charge before the completion");
    const completions = new Set(published.map((one) => JSON.stringify(one)));
    assert.equal(completions.size, 1, "expected one completion, which may be repeated");
    assert.equal(published[0]?.key, order.orderId);
  },
});
