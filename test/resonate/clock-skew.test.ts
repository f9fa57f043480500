import assert from "node:assert/strict";
import { test } from "node:test";
import type { PromiseRecord, Response, TaskRecord } from "@resonatehq/sdk";
import { watchClockSkew } from "../../src/resonate/clock-skew.ts";
import { PULSE_ID } from "../../src/resonate/request.ts";
import { createMemoryLog } from "../helpers/unit-log.ts";

const SENT_AT = 1_000_000;
const head = { corrId: "c", status: 200 as const, version: "v" };

const promise = (id: string, createdAt: number): PromiseRecord => ({
  id,
  state: "pending",
  param: { headers: {}, data: "" },
  value: { headers: {}, data: "" },
  tags: {},
  timeoutAt: createdAt + 1000,
  createdAt,
});

/** The answer to a message's dispatch: a task in `state`, of an execution created at `createdAt`. */
const created = (createdAt: number, state: TaskRecord["state"] = "acquired", version = 1): Response => ({
  kind: "task.create",
  head,
  data: {
    task: { id: "r-1", state, version, resumes: 0, ttl: 1000, pid: "w" },
    promise: promise("r-1", createdAt),
    preload: [],
  },
});

/** A watch whose answers take 100 ms. */
const start = () => {
  const log = createMemoryLog();
  const skew = watchClockSkew(log, () => SENT_AT + 100);
  return { log, skew };
};

test("the difference is that of a promise's creation and the middle of its request", () => {
  const { log, skew } = start();
  assert.equal(skew.ms, undefined);
  skew.onAnswer(created(SENT_AT + 50 + 1500), SENT_AT);
  assert.equal(skew.ms, 1500);
  const pulse: Response = {
    kind: "promise.create",
    head,
    data: { promise: promise(`${PULSE_ID}w`, SENT_AT) },
  };
  skew.onAnswer(pulse, SENT_AT);
  assert.equal(skew.ms, -50);
  assert.deepEqual(log.lines, []);
});

test("what was created before says nothing: a message that comes again finds what there was", () => {
  const { log, skew } = start();
  skew.onAnswer(created(SENT_AT - 3_600_000, "fulfilled"), SENT_AT);
  skew.onAnswer(created(SENT_AT - 3_600_000, "acquired", 2), SENT_AT);
  const other: Response = {
    kind: "promise.create",
    head,
    data: { promise: promise("r-1", SENT_AT - 3_600_000) },
  };
  skew.onAnswer(other, SENT_AT);
  assert.deepEqual([skew.ms, log.lines], [undefined, []]);
});

test("an answer that took long says nothing", () => {
  const { skew } = start();
  skew.onAnswer(created(SENT_AT), SENT_AT - 1000);
  assert.equal(skew.ms, undefined);
});

test("clocks that are apart are told once, and when they agree again", () => {
  const { log, skew } = start();
  for (const ahead of [5000, 5100, -10, 0]) skew.onAnswer(created(SENT_AT + 50 + ahead), SENT_AT);
  assert.deepEqual(log.lines, [
    "warn the Resonate server's clock is 5.0 s ahead of this machine's: durable sleeps are off by as much",
    "info the Resonate server's clock agrees with this machine's again",
  ]);
});
