import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { startPayments } from "../../../src/demo/payments.ts";
import { createSteps, PaymentError } from "../../../src/jobs/orders/steps.ts";
import type { Completion, StepContext } from "../../../src/worker/job.ts";
import { createMemoryLog } from "../../helpers/unit-log.ts";

const PAYMENT_URL = "http://payments.example:8090";
const order = { orderId: "o-1", amount: 12.5 };
const step = (idempotencyKey: string): StepContext => ({
  idempotencyKey,
  step: "charge",
  attempt: 1,
  executionId: "o-1",
  message: { id: "o-1", partition: 0, offset: "41" },
});

const build = (answer: typeof fetch, url = PAYMENT_URL) => {
  const log = createMemoryLog();
  const published: [key: string, Completion][] = [];
  const publish = async ({ idempotencyKey }: StepContext, message: Completion) => {
    published.push([idempotencyKey, message]);
  };
  return { steps: createSteps({ fetch: answer }, { publish, log }, { PAYMENT_URL: url }), log, published };
};

/** The error with which a charge fails when the service answers with `status`. */
const refuse = async (status: number, body = "no") => {
  const { steps, log } = build(async () => new Response(body, { status }));
  const error: unknown = await steps.charge(step("k"), order).catch((thrown) => thrown);
  assert.ok(error instanceof PaymentError, `${status}: ${error}`);
  assert.deepEqual(log.lines, []);
  return error;
};

test("a charge is posted with the idempotency key and the order", async () => {
  const calls: Request[] = [];
  const { steps, log } = build(async (url, init) => {
    calls.push(new Request(url, init));
    return Response.json({}, { status: 201 });
  });
  assert.equal(await steps.charge(step("orders/o-1/charge/0"), order), undefined);
  const [request, ...more] = calls;
  assert.ok(request);
  assert.equal(more.length, 0);
  assert.equal(request.url, `${PAYMENT_URL}/charges`);
  assert.equal(request.method, "POST");
  assert.equal(request.redirect, "manual");
  assert.equal(request.headers.get("idempotency-key"), "orders/o-1/charge/0");
  assert.equal(request.headers.get("content-type"), "application/json");
  assert.deepEqual(await request.json(), order);
  assert.deepEqual(log.lines, ["info order o-1 is charged: 12.5"]);
});

test("a refusal is for good", async () => {
  for (const status of [301, 400, 401, 402, 403, 404, 422]) {
    const { canRetry } = await refuse(status);
    assert.equal(canRetry, false, String(status));
  }
});

test("what may pass is tried again", async () => {
  for (const status of [408, 409, 429, 500, 502, 503]) {
    const error = await refuse(status);
    assert.equal(error.canRetry, true, String(status));
    assert.equal(error.code, "PAYMENT_FAILED");
  }
});

test("an error quotes the answer, but not at any length", async () => {
  const { message } = await refuse(402, "card declined");
  assert.equal(message, "expected status 2xx from the payment service, got 402: card declined");
  assert.ok((await refuse(500, "x".repeat(1e6))).message.length < 300);
});

test("a service that does not answer is not waited for without end", async (t) => {
  const timeout = t.mock.method(AbortSignal, "timeout", () => AbortSignal.abort(new Error("too late")));
  const { steps } = build(fetch);
  await assert.rejects(steps.charge(step("k"), order), { message: "too late" });
  assert.deepEqual(timeout.mock.calls[0]?.arguments, [5000]);
});

const service = async (t: TestContext, random: () => number) => {
  const payments = await startPayments({ port: 0, failureRate: 0.2, random });
  t.after(() => payments[Symbol.asyncDispose]());
  return payments;
};

test("a charge whose answer was lost is not made again by its retry", async (t) => {
  const chances = [0.15, 0.5];
  const payments = await service(t, () => chances.shift() ?? 0.5);
  const { steps } = build(fetch, payments.url);
  await assert.rejects(steps.charge(step("k"), order), { canRetry: true });
  await steps.charge(step("k"), order);
  assert.deepEqual(payments.count(), { charges: 1, orders: 1, doubled: 0 });
});

test("one key has one shipment", async () => {
  const { steps } = build(() => assert.fail("expected no request"));
  const [first, again, other] = [
    await steps.ship(step("orders/o-1/ship/0"), order),
    await steps.ship(step("orders/o-1/ship/0"), order),
    await steps.ship(step("orders/o-2/ship/0"), order),
  ];
  assert.match(first, /^[0-9A-F]{12}$/);
  assert.equal(again, first);
  assert.notEqual(other, first);
});

test("a shipped order is published under its id and the step's key", async () => {
  const { steps, published } = build(() => assert.fail("expected no request"));
  await steps.enqueueShipped(step("k"), order, "T1");
  assert.deepEqual(published, [["k", { key: "o-1", value: '{"orderId":"o-1","trackingId":"T1"}' }]]);
});
