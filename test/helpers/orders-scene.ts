import { randomUUID } from "node:crypto";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { text } from "node:stream/consumers";
import type { TestContext } from "node:test";
import { startPayments } from "../../src/demo/payments.ts";
import { job } from "../../src/jobs/orders/job.ts";
import { createListener } from "../../src/stack/listener.ts";
import type { JobScene } from "./job-scene.ts";
import { type Env, openScene } from "./scene.ts";

/** Stands before a payment service and writes down which key was asked for how often, by order. */
const startBook = async (target: string) => {
  const asked = new Map<string, Map<string, number>>();
  const exchange = async ({ url, method = "GET", headers }: IncomingMessage, body: string) => {
    const key = String(headers["idempotency-key"]);
    const { orderId }: { orderId: string } = JSON.parse(body);
    const keys = asked.getOrInsertComputed(orderId, () => new Map<string, number>());
    keys.set(key, (keys.get(key) ?? 0) + 1);
    return fetch(`${target}${url}`, { method, body, headers: { "Idempotency-Key": key } });
  };
  const forward = async (incoming: IncomingMessage, response: ServerResponse) => {
    const answer = await exchange(incoming, await text(incoming));
    response.writeHead(answer.status).end(await answer.text());
  };
  const listener = createListener(
    createServer((incoming, response) => {
      forward(incoming, response).catch((error) => response.destroy(error));
    }),
  );
  const port = await listener.open({ port: 0, host: "127.0.0.1" });
  return { url: `http://127.0.0.1:${port}`, asked, [Symbol.asyncDispose]: listener.close };
};

/**
 * Sets a scene for the orders, with a payment service that fails at FAILURE_RATE; all of it is gone when the test
 * ends.
 */
export const setScene = async (
  t: TestContext,
  { FAILURE_RATE = "0", ...overrides }: Env = {},
): Promise<JobScene> => {
  const opened = new AsyncDisposableStack();
  const options = { failureRate: Number(FAILURE_RATE), random: Math.random, port: 0 };
  const payments = opened.use(await startPayments(options));
  const book = opened.use(await startBook(payments.url));
  const scene = await openScene(t, job, () => ({
    PAYMENT_URL: book.url,
    SHIP_DELAY_MS: "100",
    ...overrides,
  }));
  t.after(() => opened.disposeAsync());
  return {
    ...scene,
    seedOne: async (partition) => {
      const orderId = `order-${randomUUID()}`;
      const value = JSON.stringify({ orderId, amount: 12.5 });
      await scene.produce({ key: orderId, value, ...(partition === undefined ? {} : { partition }) });
      return orderId;
    },
    effectsOf: async (id) =>
      [...(book.asked.get(id) ?? [])].map(([key, times]) => ({ key, repeats: times - 1 })),
  };
};
