import assert from "node:assert/strict";
import { defineScenario } from "../../../src/crash-test/scenario.ts";
import {
  defineJob,
  type Reading,
  type StepContext,
  type StepTools,
  type WorkflowContext,
} from "../../../src/worker/job.ts";

export interface Purchase {
  readonly orderId: string;
}

export interface Charge extends Purchase {
  readonly key: string;
}

/** A payment service that charges once for each key, and a counter of parcels that knows no keys. */
const createEffects = () => {
  const charges = new Map<string, string>();
  let parcels = 0;
  return {
    charges,
    charge: async ({ key, orderId }: Charge) => {
      charges.set(key, orderId);
    },
    countParcel: async () => {
      parcels += 1;
    },
    get parcels() {
      return parcels;
    },
  };
};

export type Effects = ReturnType<typeof createEffects>;
type Tools = Pick<StepTools, "publish">;

/** The right way: each effect in a step, keyed by the step's key. The wrong jobs differ from it in one thing. */
export const createSteps = ({ charge }: Pick<Effects, "charge">, { publish }: Tools) => ({
  charge: ({ idempotencyKey: key }: StepContext, { orderId }: Purchase) => charge({ key, orderId }),
  report: (step: StepContext, { orderId }: Purchase) => publish(step, { key: orderId, value: "done" }),
});

export type PurchaseSteps = ReturnType<typeof createSteps>;

/** Charges, waits a day, reports. */
export const createWorkflow = ({ charge, report }: PurchaseSteps) =>
  function* workflow(ctx: WorkflowContext, purchase: Purchase) {
    yield* ctx.run(charge, purchase);
    yield* ctx.sleep(24 * 3_600_000);
    yield* ctx.run(report, purchase);
  };

/** All of a job but its steps and its workflow. */
export const purchases = {
  name: "purchases",
  defaults: {
    TOPIC_SOURCE: "purchases",
    TOPIC_COMPLETIONS: "purchases_done",
    TOPIC_DEAD_LETTERS: "purchases.dlq",
    KAFKA_GROUP_ID: "purchases",
    RESONATE_GROUP: "purchases",
    STEP_CONCURRENCY: 16,
    STEP_MAX_ATTEMPTS: 3,
  },
  settings: {},
  read: ({ value }: { value: Buffer | null }): Reading<Purchase> => ({
    ok: true,
    id: String(value),
    input: { orderId: String(value) },
  }),
  open: createEffects,
  seed: () => [],
};

export const right = defineJob({ ...purchases, createSteps, createWorkflow });

/** Each order charged once, and reported under one key. */
export const scenario = defineScenario({
  message: { key: "k", value: "4711", headers: { "trace-id": "abc" } },
  effects: createEffects,
  expect: ({ effects: { charges, parcels }, published }) => {
    assert.deepEqual([...charges.values()], ["4711"], "expected one charge");
    assert.ok(parcels <= 1, "expected one parcel");
    assert.equal(new Set(published.map(({ idempotencyKey }) => idempotencyKey)).size, 1);
  },
});
