import assert from "node:assert/strict";
import { test } from "node:test";
import { OutageError } from "../../src/support/errors.ts";
import { silentLog } from "../../src/support/log.ts";
import { KEY_TAG } from "../../src/worker/checkpoint.ts";
import { encodeEnvelope } from "../../src/worker/envelope.ts";
import { createExecution, executionName, NEVER_MS } from "../../src/worker/execution.ts";
import type { StepContext, Workflow, WorkflowContext } from "../../src/worker/job.ts";
import { createStepRunner } from "../../src/worker/step.ts";
import { endedIn, playExecution, startExecutions } from "../helpers/unit-execution.ts";
import { until } from "../helpers/unit-time.ts";
import { startLeased, startServer } from "../helpers/unit-worker.ts";

/** Steps that note the keys they were called with. */
const createSteps = () => {
  const keys: string[] = [];
  const note = async ({ idempotencyKey }: StepContext) => {
    keys.push(idempotencyKey);
    return idempotencyKey;
  };
  return {
    keys,
    charge: async (step: StepContext) => note(step),
    ship: async (step: StepContext) => note(step),
  };
};

/** A workflow without steps. */
const createIdle = (end: () => unknown): Workflow<unknown> =>
  function* (ctx) {
    yield* ctx.sleep(0);
    return end();
  };
const throwing = (thrown: unknown) =>
  createIdle(() => {
    throw thrown;
  });

/** How values look, type and all: what a workflow might branch on. */
const looksOf = (value: unknown): unknown =>
  value instanceof Error
    ? [value.constructor.name, value.name, value.message, Object.keys(value).sort()]
    : [typeof value, value === null ? null : Object.getPrototypeOf(Object(value)).constructor.name, value];

test("the name of an execution names its job and its topic", () => {
  assert.equal(executionName("orders", "orders_to_ship"), "orders:orders_to_ship");
});

test("a step is given its key, its attempt and where its message stands", async (t) => {
  const given: [StepContext, ...unknown[]][] = [];
  const steps = {
    charge: async (...args: [StepContext, ...unknown[]]) => {
      given.push(args);
      if (given.length < 3) throw new Error("refused");
    },
  };
  await playExecution(t, {
    steps,
    workflow: function* (ctx) {
      yield* ctx.run(steps.charge, "EUR", { amount: 12.5 });
    },
  });
  const message = { id: "m", partition: 1, offset: "41" };
  assert.deepEqual(
    given,
    [1, 2, 3].map((attempt) => [
      { idempotencyKey: "job/m/charge/0", step: "charge", executionId: "m", attempt, message },
      "EUR",
      { amount: 12.5 },
    ]),
  );
});

test("each call of each step has a key of its own, which its promise carries as a tag", async (t) => {
  const { keys, ...steps } = createSteps();
  const { outcome, requests } = await playExecution(t, {
    steps,
    workflow: function* (ctx) {
      const results: string[] = [];
      for (const step of [steps.charge, steps.ship, steps.charge]) results.push(yield* ctx.run(step));
      return results;
    },
  });
  const expected = ["job/m/charge/0", "job/m/ship/0", "job/m/charge/1"];
  assert.deepEqual([outcome, keys], [{ result: expected }, expected]);
  const tags = requests.flatMap((request) => {
    const action = request.kind === "task.fence" ? request.data.action : undefined;
    return action?.kind === "promise.create" ? [action.data.tags[KEY_TAG]] : [];
  });
  assert.deepEqual(tags, expected);
});

test("keys stay the same through replays: a step that has ended is not called again, the next goes on counting", async (t) => {
  const { keys, ...steps } = createSteps();
  const { outcome } = await playExecution(t, {
    steps,
    workflow: function* (ctx) {
      const results: string[] = [];
      for (let i = 0; i < 4; i++) {
        results.push(yield* ctx.run(steps.charge));
        yield* ctx.sleep(1);
      }
      return results;
    },
  });
  const expected = [0, 1, 2, 3].map((call) => `job/m/charge/${call}`);
  assert.deepEqual([keys, outcome], [expected, { result: expected }]);
});

test("continueAsNew goes on counting, and goes on with its arguments in a fresh execution", async (t) => {
  const { keys, ...steps } = createSteps();
  const inputs: unknown[] = [];
  const workflow = function* (
    ctx: WorkflowContext,
    input: unknown,
    first = 0,
  ): Generator<unknown, string, unknown> {
    inputs.push([input, first]);
    yield* ctx.run(steps.charge);
    yield* ctx.run(steps.ship);
    yield* ctx.run(steps.charge);
    if (first === 2) return `done from ${first}`;
    return yield* ctx.continueAsNew(workflow, input, first + 1);
  };
  const { outcome, requests, deadLetters } = await playExecution(t, { steps, workflow, input: ["__INF__"] });
  assert.deepEqual(outcome, { result: "done from 2" });
  const keysOf = (step: string, count: number) =>
    Array.from({ length: count }, (_, i) => `job/m/${step}/${i}`);
  assert.deepEqual(
    keys.filter((key) => key.includes("charge")),
    keysOf("charge", 6),
  );
  assert.deepEqual(
    keys.filter((key) => key.includes("ship")),
    keysOf("ship", 3),
  );
  const starts = [0, 1, 2].map((first) => JSON.stringify([["__INF__"], first]));
  assert.deepEqual([...new Set(inputs.map((input) => JSON.stringify(input)))], starts);
  assert.equal(new Set(endedIn(requests)).size, 3);
  assert.deepEqual(deadLetters, []);
});

test("a redriven message's effects have the keys of its first execution", async (t) => {
  const { keys, ...steps } = createSteps();
  let fails = true;
  const play = startExecutions(t, {
    steps,
    workflow: function* (ctx) {
      yield* ctx.run(steps.charge);
      yield* ctx.run(steps.ship);
      if (fails) throw new Error("no");
      return "done";
    },
  });
  assert.deepEqual((await play()).outcome, { error: "no" });
  fails = false;
  const redriven = await play({ redrives: 1, offset: "97", partition: 3 });
  assert.deepEqual(redriven.outcome, { result: "done" });
  assert.deepEqual(keys, ["job/m/charge/0", "job/m/ship/0", "job/m/charge/0", "job/m/ship/0"]);
});

test("another message's effects have other keys", async (t) => {
  const { keys, ...steps } = createSteps();
  const play = startExecutions(t, {
    steps,
    workflow: function* (ctx) {
      yield* ctx.run(steps.charge);
    },
  });
  for (const id of ["a", "a/charge", "ä ", "__INF__"]) await play({ id });
  assert.deepEqual(keys, [
    "job/a/charge/0",
    "job/a%2Fcharge/charge/0",
    "job/%C3%A4%20/charge/0",
    "job/__INF__/charge/0",
  ]);
});

test("a step that another worker takes over is called with the same key", async (t) => {
  const server = await startServer(t);
  const calls: [worker: number, key: string, attempt: number][] = [];
  const [worker, other] = [await startLeased(t, server), await startLeased(t, server)];
  const [mine] = [worker, other].map(({ resonate, network }, index) => {
    const steps = {
      charge: async ({ idempotencyKey, attempt }: StepContext) => {
        calls.push([index, idempotencyKey, attempt]);
        if (index === 0 && idempotencyKey.endsWith("1")) await new Promise(() => {});
        return idempotencyKey;
      },
    };
    return resonate.register(
      "job:topic",
      createExecution({
        job: "job",
        name: "job:topic",
        steps,
        workflow: function* (ctx) {
          return [yield* ctx.run(steps.charge), yield* ctx.run(steps.charge)];
        },
        runner: createStepRunner({
          concurrency: 1,
          maxAttempts: 1,
          retryDelayMs: 1,
          now: Date.now,
          log: silentLog,
        }),
        history: network.history,
        takeovers: { run: (_step, work) => work() },
        maxTakeovers: 100,
        worker: String(index),
        target: network.anycast,
        sendDeadLetter: async () => assert.fail("expected no dead letter"),
      }),
    );
  });
  const deadline = Date.now() + 60_000;
  const envelope = { id: "m", partition: 0, offset: "0", redrives: 0, deadline, original: null, args: [] };
  const options = worker.resonate.options({ timeout: NEVER_MS, target: worker.network.anycast });
  await mine?.beginRun("m", encodeEnvelope(envelope), options);
  await until("the second call runs", () => calls.length === 2);
  await worker.network.drain(0);
  await until("the other worker has ended it", () => other.ended.includes("m"));
  assert.deepEqual(calls, [
    [0, "job/m/charge/0", 1],
    [0, "job/m/charge/1", 1],
    [1, "job/m/charge/1", 1],
  ]);
});

const results: readonly unknown[] = [
  undefined,
  null,
  0,
  -0,
  Number.NaN,
  Number.POSITIVE_INFINITY,
  "",
  "text",
  "__INF__",
  [1, undefined, () => {}],
  { a: undefined, b: new Date(0), c: new Map([[1, 2]]) },
  { __type: "error", name: "Odd", message: "no error" },
  new Date(0),
  Object.create(null),
  new (class Money {
    amount = 12.5;
  })(),
  new TypeError("as a result"),
  () => {},
  Symbol("s"),
];

test("a result looks the same on the first run and after a replay", async (t) => {
  const seen: unknown[][] = [];
  const steps = { give: async (_step: StepContext, index: number) => results[index] };
  const { outcome } = await playExecution(t, {
    steps,
    workflow: function* (ctx) {
      const looks: unknown[] = [];
      for (const index of results.keys()) looks.push(looksOf(yield* ctx.run(steps.give, index)));
      seen.push(looks);
      yield* ctx.sleep(100);
    },
  });
  assert.deepEqual(outcome, { result: undefined });
  assert.equal(seen.length, 2, "it was resumed once");
  assert.deepEqual(seen[0], seen[1]);
});

test("an error looks the same on the first run and after a replay, and can be caught", async (t) => {
  const errors: readonly unknown[] = [
    new Error("plain"),
    new RangeError("of a class"),
    Object.assign(new Error("with more"), { code: "DECLINED", canRetry: false }),
    new Error("with a cause", { cause: new Error("inner") }),
    new AggregateError([new Error("one"), new TypeError("two")], "several"),
    new AggregateError([1n], "of what JSON cannot hold"),
    Object.assign(new Error("x"), { name: 1n }),
    "text",
    { odd: 1n },
    undefined,
  ];
  const seen: unknown[][] = [];
  const steps = {
    fail: async (_step: StepContext, index: number) => {
      throw errors[index];
    },
  };
  const { outcome, deadLetters } = await playExecution(t, {
    steps,
    maxAttempts: 1,
    workflow: function* (ctx) {
      const looks: unknown[] = [];
      for (const index of errors.keys()) {
        try {
          yield* ctx.run(steps.fail, index);
        } catch (error) {
          assert.ok(error instanceof Error);
          looks.push(looksOf(error));
        }
      }
      seen.push(looks);
      yield* ctx.sleep(100);
      return "went on";
    },
  });
  assert.deepEqual([outcome, deadLetters], [{ result: "went on" }, []]);
  assert.equal(seen.length, 2, "it was resumed once");
  assert.equal(seen[0]?.length, errors.length);
  assert.deepEqual(seen[0], seen[1]);
});

test("a function that is no step of the job fails the execution, and is not called", async (t) => {
  const { keys, ...steps } = createSteps();
  let called = false;
  const foreign = async () => {
    called = true;
  };
  const { outcome, deadLetters } = await playExecution(t, {
    steps,
    workflow: function* (ctx) {
      yield* ctx.run(steps.charge);
      yield* ctx.run(foreign);
    },
  });
  const error = "expected a step that createSteps of job returns, got another function";
  assert.deepEqual(outcome, { error });
  assert.deepEqual([called, keys.length, deadLetters.length], [false, 1, 1]);
  assert.ok(deadLetters[0]?.error instanceof Error && deadLetters[0].error.message === error);
});

test("a result of a step without a JSON form fails it once, and the message goes to the dead letters", async (t) => {
  let runs = 0;
  const steps = {
    count: async () => {
      runs += 1;
      return 1n;
    },
  };
  const { outcome, deadLetters } = await playExecution(t, {
    steps,
    workflow: function* (ctx) {
      yield* ctx.run(steps.count);
    },
  });
  assert.ok("error" in outcome);
  assert.match(outcome.error, /^expected a result of step count that JSON can hold, got /);
  assert.deepEqual([runs, deadLetters.length], [1, 1]);
});

test("a workflow whose result has no JSON form, or that throws what has none, fails once", async (t) => {
  const workflows: readonly [Workflow<unknown>, RegExp][] = [
    [createIdle(() => 1n), /^expected a result of the workflow that JSON can hold/],
    [throwing(1n), /^1$/],
    [throwing({ odd: 1n }), /object/],
    [throwing(new AggregateError([1n], "several")), /^several$/],
    [throwing(undefined), /^undefined$/],
  ];
  for (const [workflow, expected] of workflows) {
    const { outcome, deadLetters } = await playExecution(t, { steps: {}, workflow });
    assert.ok("error" in outcome, String(expected));
    assert.match(outcome.error, expected);
    assert.equal(deadLetters.length, 1);
  }
});

test("an execution that fails sends its message to the dead letters, for as long as it takes, then is rejected", async (t) => {
  const failures = [new OutageError("broker away"), new Error("too large"), new OutageError("broker away")];
  const original = { key: "k", value: { base64: "/w==" } };
  const { outcome, deadLetters, lines } = await playExecution(t, {
    steps: {},
    maxAttempts: 1,
    envelope: { original, redrives: 4 },
    onDeadLetter: () => {
      const failure = failures.shift();
      if (failure) throw failure;
    },
    workflow: throwing(new Error("no way")),
  });
  assert.deepEqual(outcome, { error: "no way" });
  assert.equal(deadLetters.length, 1);
  const { envelope, error } = deadLetters[0] ?? assert.fail();
  assert.deepEqual([envelope.id, envelope.redrives, envelope.original], ["m", 4, original]);
  assert.ok(error instanceof Error && error.message === "no way");
  assert.equal(lines.filter((line) => line.includes("step enqueueDeadLetter of m failed")).length, 3);
});

test("only the first execution of a message answers for it: a later segment passes its failure up", async (t) => {
  const workflow = function* (
    ctx: WorkflowContext,
    input: unknown,
    first = 0,
  ): Generator<unknown, string, unknown> {
    if (first === 3) throw new RangeError("in the last segment");
    return yield* ctx.continueAsNew(workflow, input, first + 1);
  };
  const { outcome, deadLetters, requests } = await playExecution(t, { steps: {}, workflow });
  assert.deepEqual(outcome, { error: "in the last segment" });
  assert.equal(new Set(endedIn(requests)).size, 4);
  assert.equal(deadLetters.length, 1);
  assert.ok(deadLetters[0]?.envelope.original !== undefined, "that of the first");
});

test("a workflow goes on, over its replays, after a fresh execution of it has failed", async (t) => {
  const { keys, ...steps } = createSteps();
  const workflow = function* (
    ctx: WorkflowContext,
    input: unknown,
    first = 0,
  ): Generator<unknown, string, unknown> {
    if (first === 1) throw new RangeError("in the second");
    yield* ctx.run(steps.charge);
    try {
      return yield* ctx.continueAsNew(workflow, input, first + 1);
    } catch {
      yield* ctx.run(steps.ship);
      yield* ctx.sleep(1);
      yield* ctx.run(steps.charge);
      return "undone";
    }
  };
  const { outcome, deadLetters } = await playExecution(t, { steps, workflow });
  assert.deepEqual(outcome, { result: "undone" });
  assert.deepEqual(keys, ["job/m/charge/0", "job/m/ship/0", "job/m/charge/1"]);
  assert.deepEqual(deadLetters, []);
});

test("the original message is not carried along into later segments", async (t) => {
  const value = "x".repeat(10_000);
  const workflow = function* (
    ctx: WorkflowContext,
    input: unknown,
    first = 0,
  ): Generator<unknown, string, unknown> {
    if (first === 3) return "done";
    return yield* ctx.continueAsNew(workflow, input, first + 1);
  };
  const { requests } = await playExecution(t, {
    steps: {},
    workflow,
    envelope: { original: { key: null, value } },
  });
  const large = requests.filter((request) => JSON.stringify(request).length > 10_000);
  assert.deepEqual(
    large.map(({ kind }) => kind),
    ["task.create"],
  );
});

test("past its deadline an execution tries no step and sends its dead letter all the same", async (t) => {
  const { keys, ...steps } = createSteps();
  const { outcome, deadLetters } = await playExecution(t, {
    steps,
    now: () => 1001,
    envelope: { deadline: 1000 },
    workflow: function* (ctx) {
      yield* ctx.run(steps.charge);
    },
  });
  assert.deepEqual(outcome, {
    error: "expected m to be done by 1970-01-01T00:00:01.000Z, got to step charge",
  });
  assert.deepEqual([keys, deadLetters.length], [[], 1]);
});
