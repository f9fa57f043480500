import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { text } from "node:stream/consumers";
import { createListener } from "../stack/listener.ts";
import { describe } from "../support/errors.ts";
import { readJson } from "../support/read-json.ts";

/** What the service has done. */
export interface ChargeCounts {
  readonly charges: number;
  /** Distinct orders. */
  readonly orders: number;
  /** Orders charged under more than one key. */
  readonly doubled: number;
}

interface Answer {
  readonly status: number;
  readonly body: object;
}

export interface PaymentsOptions {
  /** Share of charge requests, 0 to 1, that get status 500: half of them before, half after the charge is made. */
  readonly failureRate: number;
  /** A number from 0 up to, but not including, 1. */
  readonly random: () => number;
}

/** A payment service's books, in memory. A key is charged once; a repeated one gets its first answer. */
export const createPayments = ({ failureRate, random }: PaymentsOptions) => {
  const answers = new Map<string, Answer>();
  const keysOfOrder = new Map<string, Set<string>>();
  const failure = (when: string) => ({
    status: 500,
    body: { error: `simulated failure ${when} the charge` },
  });
  const refusal = (error: string) => ({ status: 400, body: { error } });

  const charge = (key: string | undefined, value: string): Answer => {
    if (!key) return refusal("expected a header Idempotency-Key, got none");
    const read = readJson(Buffer.from(value));
    if (!read.ok) return refusal(`expected a JSON body, got ${read.reason}`);
    const { orderId, amount }: { orderId?: unknown; amount?: unknown } = Object(read.json);
    if (typeof orderId !== "string" || orderId === "") return refusal("expected an orderId");
    if (typeof amount !== "number" || !(amount > 0)) return refusal("expected an amount above 0");

    const chance = random();
    if (chance < failureRate / 2) return failure("before");
    const answer = answers.getOrInsertComputed(key, () => {
      keysOfOrder.getOrInsertComputed(orderId, () => new Set()).add(key);
      return { status: 201, body: { chargeId: `charge-${answers.size + 1}`, orderId, amount } };
    });
    return chance < failureRate ? failure("after") : answer;
  };

  const count = (): ChargeCounts => ({
    charges: answers.size,
    orders: keysOfOrder.size,
    doubled: keysOfOrder.values().reduce((sum, keys) => (keys.size > 1 ? sum + 1 : sum), 0),
  });
  return { charge, count };
};

/** A payment service on loopback. */
export interface PaymentService extends AsyncDisposable {
  /** As in PAYMENT_URL. */
  readonly url: string;
  count(): ChargeCounts;
}

/**
 * Starts a payment service for demo and tests: `POST /charges` with a header `Idempotency-Key` and an order as JSON;
 * `GET /charges` gives the counts.
 *
 * @param options.port 0 is a free one; rejects with the listen error, such as EADDRINUSE
 */
export const startPayments = async ({
  port,
  ...options
}: PaymentsOptions & { port: number }): Promise<PaymentService> => {
  const { charge, count } = createPayments(options);

  const answer = async ({ method, url, headers }: IncomingMessage, body: string): Promise<Answer> => {
    if (url !== "/charges") return { status: 404, body: { error: "expected the path /charges" } };
    if (method === "GET") return { status: 200, body: count() };
    if (method !== "POST") return { status: 405, body: { error: "expected GET or POST" } };
    return charge(headers["idempotency-key"]?.toString(), body);
  };
  const respond = async (incoming: IncomingMessage, response: ServerResponse) => {
    const { status, body } = await answer(incoming, await text(incoming));
    response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(body));
  };
  const http = createServer((incoming, response) => {
    respond(incoming, response).catch((error) => response.destroy(new Error(describe(error))));
  });
  const listener = createListener(http);
  const opened = await listener.open({ port, host: "127.0.0.1" });
  return { url: `http://127.0.0.1:${opened}`, count, [Symbol.asyncDispose]: listener.close };
};
