import { createHash } from "node:crypto";
import type { StepContext, StepTools } from "../../worker/job.ts";
import type { Order } from "./message.ts";

/** How long to wait for the payment service. */
const TIMEOUT_MS = 5000;
/** The service timed out, is still at a request with this key, or has too many: a retry can help. */
const REFUSED_FOR_NOW = [408, 409, 429];

/** The payment service did not say that the order is charged. */
export class PaymentError extends Error {
  readonly code = "PAYMENT_FAILED";
  override name = "PaymentError";
  readonly canRetry: boolean;
  constructor(status: number, answer: string) {
    super(`expected status 2xx from the payment service, got ${status}: ${answer.slice(0, 200)}`);
    this.canRetry = status >= 500 || REFUSED_FOR_NOW.includes(status);
  }
}

/** What the steps touch. */
export interface OrderEffects {
  readonly fetch: typeof fetch;
}

export type OrderSteps = ReturnType<typeof createSteps>;

/** The leaf functions of the workflow: everything in it that touches the world. */
export const createSteps = (
  { fetch }: OrderEffects,
  { publish, log }: Pick<StepTools, "publish" | "log">,
  { PAYMENT_URL }: { readonly PAYMENT_URL: string },
) => ({
  /**
   * Charges the order: once, however often it is tried, because the service takes a key once.
   *
   * @throws {PaymentError} for any other answer than 2xx; what `fetch` throws when there is none
   */
  charge: async ({ idempotencyKey }: StepContext, order: Order): Promise<void> => {
    const response = await fetch(`${PAYMENT_URL}/charges`, {
      method: "POST",
      headers: { "Content-Type": "application/json", "Idempotency-Key": idempotencyKey },
      body: JSON.stringify(order),
      signal: AbortSignal.timeout(TIMEOUT_MS),
      // A POST that is redirected may become a GET.
      redirect: "manual",
    });
    const answer = await response.text();
    if (!response.ok) throw new PaymentError(response.status, answer);
    log.info(`order ${order.orderId} is charged: ${order.amount}`);
  },

  /** Gives the tracking id. Stands for a carrier's API, where one key has one shipment. */
  ship: async ({ idempotencyKey }: StepContext, { orderId }: Order): Promise<string> => {
    const trackingId = createHash("sha256").update(idempotencyKey).digest("hex").slice(0, 12).toUpperCase();
    log.info(`order ${orderId} is shipped as ${trackingId}`);
    return trackingId;
  },

  /** Publishes `{"orderId", "trackingId"}`, keyed by order id. */
  enqueueShipped: async (step: StepContext, { orderId }: Order, trackingId: string): Promise<void> => {
    await publish(step, { key: orderId, value: JSON.stringify({ orderId, trackingId }) });
  },
});
