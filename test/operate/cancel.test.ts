import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import type { Send } from "@resonatehq/sdk";
import { cancel } from "../../src/operate/cancel.ts";
import { isCancelled } from "../../src/worker/cancel.ts";
import { reasonFor } from "../../src/worker/dead-letter.ts";
import type { StepContext, Workflow, WorkflowContext } from "../../src/worker/job.ts";
import { startExecutions } from "../helpers/unit-execution.ts";
import { until } from "../helpers/unit-time.ts";

const HOUR_MS = 3_600_000;

/** Plays a record whose `work` step cancels it, or whose sleep is cut short. */
const play = async (
  t: TestContext,
  toWorkflow: (steps: ReturnType<typeof createSteps>) => Workflow<unknown>,
) => {
  let send: Send | undefined;
  const calls: string[] = [];
  const cancelIt = () => cancel(send ?? assert.fail(), { name: "job:topic" }, "m", t.signal);
  const steps = createSteps(calls, cancelIt);
  const start = startExecutions(t, {
    steps,
    workflow: toWorkflow(steps),
    onServer: (own) => {
      send = own;
    },
  });
  const playing = start();
  const end = async () => {
    const { outcome, deadLetters } = await playing;
    return { outcome, reasons: deadLetters.map(({ error }) => reasonFor(error)), calls };
  };
  return { calls, cancelIt, end };
};

const createSteps = (calls: string[], cancelIt: () => Promise<void>) => ({
  charge: async () => {
    calls.push("charge");
    return "charged";
  },
  /** Is cancelled while it runs. */
  ship: async () => {
    calls.push("ship");
    await cancelIt();
    return "shipped";
  },
  /** Is cancelled while it runs, and fails. */
  fail: async ({ attempt }: StepContext) => {
    calls.push(`fail ${attempt}`);
    await cancelIt();
    throw Object.assign(new Error("refused"), { canRetry: false });
  },
  refund: async () => {
    calls.push("refund");
  },
});

const CANCELLED = { outcome: { error: "cancelled" }, reasons: ["cancelled"] };

test("a sleep that is cancelled ends the execution, with one dead letter", async (t) => {
  const { calls, cancelIt, end } = await play(
    t,
    ({ charge, refund }) =>
      function* (ctx) {
        yield* ctx.run(charge);
        yield* ctx.sleep(HOUR_MS);
        yield* ctx.run(refund);
      },
  );
  await until("the first step", () => calls.length === 1);
  await cancelIt();
  assert.deepEqual(await end(), { ...CANCELLED, calls: ["charge"] });
  await assert.rejects(cancelIt(), { code: "ENDED_RECORD", message: /^record m is cancelled already/ });
});

test("a step that is cancelled while it runs has no result, though it comes to its end", async (t) => {
  const { end } = await play(
    t,
    ({ ship, refund }) =>
      function* (ctx) {
        yield* ctx.run(ship);
        yield* ctx.run(refund);
      },
  );
  assert.deepEqual(await end(), { ...CANCELLED, calls: ["ship"] });
});

test("a step that fails after it was cancelled was cancelled", async (t) => {
  const { end } = await play(
    t,
    ({ fail }) =>
      function* (ctx) {
        yield* ctx.run(fail);
      },
  );
  assert.deepEqual(await end(), { ...CANCELLED, calls: ["fail 1"] });
});

test("a workflow that catches a cancelling runs no further step, and does not finish", async (t) => {
  const caught: boolean[] = [];
  const { end } = await play(
    t,
    ({ ship, refund }) =>
      function* (ctx) {
        try {
          yield* ctx.run(ship);
        } catch (error) {
          caught.push(isCancelled(error));
          try {
            yield* ctx.run(refund);
          } catch (again) {
            caught.push(isCancelled(again));
          }
        }
        return "all is well";
      },
  );
  assert.deepEqual(await end(), { ...CANCELLED, calls: ["ship"] });
  assert.ok(caught.length >= 2 && caught.every((own) => own));
});

test("a cancelled later segment ends the ones before it, with one dead letter", async (t) => {
  const { end } = await play(t, ({ charge, ship }) => {
    const workflow = function* (
      ctx: WorkflowContext,
      input: unknown,
      first = 0,
    ): Generator<unknown, string, unknown> {
      yield* ctx.run(charge);
      if (first === 2) yield* ctx.run(ship);
      return yield* ctx.continueAsNew(workflow, input, first + 1);
    };
    return workflow;
  });
  assert.deepEqual(await end(), { ...CANCELLED, calls: ["charge", "charge", "charge", "ship"] });
});

test("a record whose dead letter is being written is not cancelled: it has failed", async (t) => {
  let send: Send | undefined;
  const refusals: unknown[] = [];
  const start = startExecutions(t, {
    steps: {},
    // biome-ignore lint/correctness/useYield: it fails before its first step
    workflow: function* () {
      throw new Error("no way");
    },
    onServer: (own) => {
      send = own;
    },
    onDeadLetter: () => {
      if (refusals.length > 0) return;
      refusals.push(undefined);
      throw new Error("not yet");
    },
    sleep: async () => {
      refusals[0] = await cancel(send ?? assert.fail(), { name: "job:topic" }, "m", t.signal).catch(
        (error) => error.message,
      );
    },
  });
  const { outcome, deadLetters } = await start();
  assert.deepEqual(outcome, { error: "no way" });
  assert.deepEqual(
    deadLetters.map(({ error }) => reasonFor(error)),
    ["execution-failed"],
  );
  assert.deepEqual(refusals, ["record m is failed already: there is nothing to cancel"]);
});

test("a record that is done, has no execution, or one of another service, is not cancelled", async (t) => {
  let send: Send | undefined;
  const start = startExecutions(t, {
    steps: {},
    workflow: function* (ctx) {
      yield* ctx.sleep(0);
    },
    onServer: (own) => {
      send = own;
    },
  });
  await start();
  const cancelAt = (name: string, id: string) => cancel(send ?? assert.fail(), { name }, id, t.signal);
  await assert.rejects(cancelAt("job:topic", "m"), { code: "ENDED_RECORD", message: /^record m is done/ });
  await assert.rejects(cancelAt("job:topic", "n"), { code: "UNKNOWN_RECORD" });
  await assert.rejects(cancelAt("other:topic", "m"), { code: "UNKNOWN_RECORD" });
});
