import type { WorkflowContext } from "../../worker/job.ts";
import type { Order } from "./message.ts";
import type { OrderSteps } from "./steps.ts";

/** The charge, a pause, the shipment, then the completion. */
export const createWorkflow = (
  { charge, ship, enqueueShipped }: OrderSteps,
  { SHIP_DELAY_MS }: { readonly SHIP_DELAY_MS: number },
) =>
  function* workflow(ctx: WorkflowContext, order: Order): Generator<unknown, string, unknown> {
    yield* ctx.run(charge, order);
    yield* ctx.sleep(SHIP_DELAY_MS);
    const trackingId = yield* ctx.run(ship, order);
    yield* ctx.run(enqueueShipped, order, trackingId);
    return `order ${order.orderId} shipped as ${trackingId}`;
  };
