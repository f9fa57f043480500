import type { TestContext } from "node:test";
import { idempotencyKey } from "../../src/worker/idempotency-key.ts";
import { setScene as setDeletionScene } from "./deletion-scene.ts";
import { setScene as setOrdersScene } from "./orders-scene.ts";
import type { Env, Scene } from "./scene.ts";

/** An effect that took place. */
export interface Effect {
  /** The idempotency key under which it did. */
  readonly key: string;
  /** How often it was asked for again, and its first answer given. */
  readonly repeats: number;
}

/** What a test that runs for every job asks of one: messages whose way is the same, and the effects they had. */
export interface JobScene extends Scene {
  /** Produces a message; gives back its id. */
  seedOne(partition?: number): Promise<string>;
  /** The effects of a message so far, in the order in which they took place. */
  effectsOf(id: string): Promise<readonly Effect[]>;
}

/** A job as these tests see it. */
export interface JobUnderTest {
  readonly name: string;
  /** The names of a message's steps, in order. It sleeps after the first one; the last one publishes. */
  readonly steps: readonly [first: string, second: string, ...string[]];
  /** The step whose effects are counted. */
  readonly counted: string;
  /** What makes the counted step fail now and then. */
  readonly trouble: { readonly env: Env; readonly line: string };
  /** The setting that says how long a message sleeps after a step, in milliseconds. */
  readonly pause: string;
  setScene(t: TestContext, env?: Env): Promise<JobScene>;
}

/** Every job, to run one text for all of them. */
export const jobs: readonly JobUnderTest[] = [
  {
    name: "deletion",
    steps: ["deleteBatch", "deleteBatch", "deleteBatch", "enqueueCompletion"],
    counted: "deleteBatch",
    trouble: { env: { SIMULATED_FAILURE_RATE: "0.5" }, line: "simulated error while processing record" },
    pause: "BATCH_PAUSE_MS",
    setScene: async (t, env) => {
      const scene = await setDeletionScene(t, env);
      return {
        ...scene,
        seedOne: (partition) => scene.seed({ batches: 3, ...(partition === undefined ? {} : { partition }) }),
        effectsOf: async (id) => (await scene.entriesOf(id)).map(({ key, repeats }) => ({ key, repeats })),
      };
    },
  },
  {
    name: "orders",
    steps: ["charge", "ship", "enqueueShipped"],
    counted: "charge",
    trouble: { env: { FAILURE_RATE: "0.5" }, line: "simulated failure" },
    pause: "SHIP_DELAY_MS",
    setScene: setOrdersScene,
  },
];

/** The idempotency keys of a message's steps, in order. */
export const keysOf = ({ name, steps }: Pick<JobUnderTest, "name" | "steps">, messageId: string): string[] =>
  steps.map((step, i) => {
    const call = steps.slice(0, i).filter((earlier) => earlier === step).length;
    return idempotencyKey({ job: name, messageId, step, call });
  });

/** The effects of a message that is done, where none was asked for again but those of which `repeats` says so. */
export const effectsOnce = (
  job: JobUnderTest,
  messageId: string,
  repeats: Readonly<Record<number, number>> = {},
): Effect[] =>
  keysOf(job, messageId)
    .filter((_, i) => job.steps[i] === job.counted)
    .map((key, i) => ({ key, repeats: repeats[i] ?? 0 }));
