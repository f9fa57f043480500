import assert from "node:assert/strict";
import { test } from "node:test";
import { stripVTControlCharacters } from "node:util";
import type { Send } from "@resonatehq/sdk";
import { inspect } from "../../src/operate/inspect.ts";
import { inspectionLines } from "../../src/operate/inspect-text.ts";
import { requestHead } from "../../src/resonate/request.ts";
import { qualifiedId } from "../../src/worker/dispatch.ts";
import type { WorkflowContext } from "../../src/worker/job.ts";
import { until } from "../helpers/scene.ts";
import { startExecutions } from "../helpers/unit-execution.ts";

const SERVICE = { name: "job:topic" };
const HOUR_MS = 3_600_000;

/** Starts an execution that runs two steps, the second of them in a fresh execution, and then sleeps. */
const startAsleep = (t: Parameters<typeof startExecutions>[0]) => {
  let send: Send | undefined;
  const steps = {
    charge: async () => ({ receipt: "\u001b[31m7" }),
    refuse: async () => {
      throw Object.assign(new Error("refused"), { canRetry: false });
    },
  };
  const workflow = function* (
    ctx: WorkflowContext,
    input: unknown,
    first = 0,
  ): Generator<unknown, string, unknown> {
    if (first === 0) {
      yield* ctx.run(steps.charge);
      return yield* ctx.continueAsNew(workflow, input, 1);
    }
    try {
      yield* ctx.run(steps.refuse);
    } catch {
      yield* ctx.sleep(HOUR_MS);
    }
    return "done";
  };
  const start = startExecutions(t, {
    steps,
    workflow,
    onServer: (own) => {
      send = own;
    },
  });
  return { start, find: (id: string) => inspect(send ?? assert.fail(), SERVICE, id) };
};

test("an execution that sleeps is told with its steps, in all its segments, and with when it wakes", async (t) => {
  const { start, find } = startAsleep(t);
  const began = Date.now();
  void start().catch(() => {});
  await until("it sleeps", async () => (await find("m").catch(() => undefined))?.state === "asleep");
  const found = await find("m");
  const { begunAt, wakesAt, steps, ...rest } = found;
  assert.deepEqual(rest, {
    id: "m",
    executionId: "m",
    service: "job:topic",
    state: "asleep",
    partition: 1,
    offset: "41",
    redrives: 0,
    version: 1,
    segments: 2,
    deadline: "1970-01-01T00:00:01.000Z",
  });
  assert.ok(Date.parse(begunAt) >= began && Date.parse(wakesAt ?? "") >= began + HOUR_MS);
  assert.deepEqual(
    steps.map(({ segment, name, state, key, result, error }) => ({
      segment,
      name,
      state,
      key,
      result,
      error,
    })),
    [
      {
        segment: 1,
        name: "charge",
        state: "done",
        key: "job/m/charge/0",
        result: { receipt: "\u001b[31m7" },
        error: undefined,
      },
      {
        segment: 2,
        name: "refuse",
        state: "failed",
        key: "job/m/refuse/0",
        result: undefined,
        error: "refused",
      },
      {
        segment: 2,
        name: "sleep",
        state: "asleep",
        key: undefined,
        result: undefined,
        error: undefined,
      },
    ],
  );
  const lines = inspectionLines(found, Date.parse(wakesAt ?? "") - 1500).map(stripVTControlCharacters);
  assert.equal(lines[0], "record m: asleep, wakes in 1.5 s");
  assert.equal(lines.length, 7);
});

/** Starts executions that sleep and are done; `server` is there once one was started. */
const startShort = (t: Parameters<typeof startExecutions>[0]) => {
  let send: Send | undefined;
  const start = startExecutions(t, {
    steps: {},
    workflow: function* (ctx) {
      yield* ctx.sleep(0);
      return "done";
    },
    onServer: (own) => {
      send = own;
    },
  });
  return { start, server: () => send ?? assert.fail() };
};

test("the latest redrive is the one that is told of, also where an earlier one is lost", async (t) => {
  const { start, server } = startShort(t);
  const found = () => inspect(server(), SERVICE, "m");
  await assert.rejects(found(), { code: "UNKNOWN_RECORD" });
  for (const redrives of [1, 3]) {
    await start({ redrives });
    const { state, result, executionId, redrives: told } = await found();
    assert.deepEqual([state, result, executionId, told], ["done", "done", `m\u001f${redrives}`, redrives]);
  }
});

test("where another service has the plain id, the qualified one is found", async (t) => {
  const { start, server } = startShort(t);
  const qualified = qualifiedId("m", SERVICE.name);
  await start({ id: qualified });
  const data = { id: "m", timeoutAt: Date.now() + HOUR_MS, param: { headers: {}, data: "" }, tags: {} };
  const send = server();
  await send({ kind: "promise.create", head: requestHead(), data });
  assert.equal((await inspect(send, SERVICE, "m")).executionId, qualified);
});

test("what comes from outside reaches a terminal only made visible", () => {
  const begunAt = "2026-11-25T12:00:00.000Z";
  const nasty = "\u001b[2Jx";
  const lines = inspectionLines(
    {
      id: nasty,
      executionId: nasty,
      service: nasty,
      state: "failed",
      partition: 0,
      offset: "0",
      redrives: 0,
      version: 1,
      segments: 1,
      begunAt,
      endedAt: begunAt,
      deadline: begunAt,
      steps: [{ name: nasty, state: "failed", segment: 1, begunAt, error: nasty, worker: nasty }],
      error: nasty,
    },
    0,
  );
  assert.ok(!lines.some((line) => line.includes("\u001b[2J")));
  assert.equal(lines.filter((line) => line.includes("\\u001b[2Jx")).length, 4);
});
