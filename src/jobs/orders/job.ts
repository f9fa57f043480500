import { defineJob } from "../../worker/job.ts";
import { readMessage } from "./message.ts";
import { seed } from "./seed.ts";
import { settings } from "./settings.ts";
import { createSteps } from "./steps.ts";
import { createWorkflow } from "./workflow.ts";

/** Charges an order, waits, ships it, then reports it as shipped. */
export const job = defineJob({
  name: "orders",
  defaults: {
    TOPIC_SOURCE: "orders_to_ship",
    TOPIC_COMPLETIONS: "orders_shipped",
    TOPIC_DEAD_LETTERS: "orders_to_ship.dlq",
    KAFKA_GROUP_ID: "orders_consumer_group",
    RESONATE_GROUP: "orders_workers",
    STEP_CONCURRENCY: 16,
    STEP_MAX_ATTEMPTS: 100,
  },
  settings,
  read: readMessage,
  open: () => ({ fetch }),
  createSteps,
  createWorkflow,
  seed,
});
