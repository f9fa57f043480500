import assert from "node:assert/strict";
import { test } from "node:test";
import { parseRecordId } from "../../../src/jobs/deletion/message.ts";
import { type Batch, type BatchRequest, RecordStoreError } from "../../../src/jobs/deletion/records.ts";
import {
  createSteps,
  ExecutionTimeoutError,
  SimulatedError,
  type StepEffects,
} from "../../../src/jobs/deletion/steps.ts";
import { createSemaphore } from "../../../src/support/semaphore.ts";
import { HEADERS } from "../../../src/worker/dead-letter.ts";
import { createMemoryLog } from "../../helpers/unit-log.ts";
import { createFakeProducer } from "../../helpers/unit-producer.ts";
import { createRandom } from "../../helpers/unit-random.ts";
import { makeContext } from "../../helpers/unit-resonate.ts";
import { mockTimers, settle } from "../../helpers/unit-time.ts";

const NOW = Date.parse("2026-11-23T21:00:00Z");
const topics = { source: "source", completions: "completions", deadLetters: "dead-letters" };
const record = {
  recordId: "r-1",
  partition: 3,
  offset: "41",
  attempt: 0,
  deadline: NOW + 1000,
  batchesPerSegment: 5,
};

const build = (answers: readonly (Batch | Error)[], effects: Partial<StepEffects> = {}) => {
  const requests: BatchRequest[] = [];
  const log = createMemoryLog();
  const producer = createFakeProducer();
  const records = {
    deleteBatch: (request: BatchRequest) => {
      requests.push(request);
      const answer = answers[requests.length - 1];
      if (answer === undefined || answer instanceof Error)
        throw answer ?? new Error("expected no more calls");
      return answer;
    },
  };
  const now = () => NOW;
  const running = createSemaphore(16);
  const chance = { failureRate: 0, random: () => 0.5 };
  const defaults = { records, producer, topics, batchSize: 10, running, latencyMs: 0, ...chance, now, log };
  return { steps: createSteps({ ...defaults, ...effects }), requests, log, producer };
};

const more: Batch = { deleted: 10, rowsRemain: true, repeated: false };
const last: Batch = { deleted: 3, rowsRemain: false, repeated: false };

test("a batch is deleted under the step's own id, and says whether rows remain", async (t) => {
  const { steps, requests } = build([more, last], { batchSize: 7 });
  assert.equal(await steps.deleteBatch(await makeContext(t, "step-0"), record, 0), true);
  assert.equal(await steps.deleteBatch(await makeContext(t, "step-1"), record, 1), false);
  assert.deepEqual(requests, [
    { stepId: "step-0", recordId: "r-1", batch: 0, size: 7 },
    { stepId: "step-1", recordId: "r-1", batch: 1, size: 7 },
  ]);
});

test("each message is printed once, in the order of the work", async (t) => {
  const { steps, log } = build([more, more, last]);
  for (const batch of [0, 1, 2])
    await steps.deleteBatch(await makeContext(t, `step-${batch}`), record, batch);
  assert.deepEqual(log.lines, [
    "info processing record r-1 in position 41",
    "info record r-1 still has rows to delete",
    "info record r-1 still has rows to delete",
    "info all rows deleted for record r-1 in position 41",
  ]);
});

test("a retry of the first batch does not say again that it begins", async (t) => {
  const { steps, log } = build([more]);
  await steps.deleteBatch(await makeContext(t, "step-0", 2), record, 0);
  assert.deepEqual(log.lines, ["info record r-1 still has rows to delete"]);
});

test("a batch that was deleted before a crash gives its answer and says only that", async (t) => {
  for (const answer of [more, last]) {
    const { steps, log } = build([{ ...answer, repeated: true }]);
    assert.equal(await steps.deleteBatch(await makeContext(t, "step-4"), record, 4), answer.rowsRemain);
    assert.deepEqual(log.lines, [
      "warn batch 4 of record r-1 was deleted before a crash: nothing deleted again",
    ]);
  }
});

test("a simulated failure comes before anything is deleted, and a retry can help", async (t) => {
  const { steps, requests, log } = build([], { failureRate: 0.25, random: () => 0.24 });
  await assert.rejects(steps.deleteBatch(await makeContext(t, "step-0"), record, 0), {
    name: "SimulatedError",
    code: "SIMULATED",
    canRetry: true,
    message: "simulated error while processing record r-1",
  });
  assert.deepEqual(requests, []);
  assert.deepEqual(log.lines, ["info processing record r-1 in position 41"]);
});

test("simulated failures come at their rate: never at 0, not from it on", async (t) => {
  const ctx = await makeContext(t, "step-1");
  const count = async (failureRate: number, random: () => number) => {
    const { steps } = build(Array(1000).fill(more), { failureRate, random });
    let failures = 0;
    for (let i = 0; i < 1000; i++) {
      await steps.deleteBatch(ctx, record, 1).catch((error) => {
        assert.ok(error instanceof SimulatedError);
        failures += 1;
      });
    }
    return failures;
  };
  assert.equal(await count(0, () => 0), 0);
  assert.equal(await count(0.25, () => 0.25), 0);
  const random = createRandom(3);
  assert.ok(Math.abs((await count(0.25, random)) - 250) < 50);
});

test("so many batches run at once and no more, and one that failed makes room, too", async (t) => {
  const ctx = await makeContext(t, "step-1");
  const timers = mockTimers(t);
  const answers = [more, new Error("locked"), more, more, last];
  const { steps, requests } = build(answers, { running: createSemaphore(2), latencyMs: 100 });
  const runs = Promise.allSettled(answers.map(() => steps.deleteBatch(ctx, record, 1)));
  const started: number[] = [];
  for (let round = 0; round < 3; round++) {
    await timers.advance(99);
    started.push(requests.length);
    await timers.advance(1);
    started.push(requests.length);
  }
  assert.deepEqual(started, [0, 2, 2, 4, 4, 5]);
  assert.deepEqual(
    (await runs).map(({ status }) => status),
    ["fulfilled", "rejected", "fulfilled", "fulfilled", "fulfilled"],
  );
});

test("a batch that waited for its turn until its deadline passed is not tried", async (t) => {
  const ctx = await makeContext(t, "step-1");
  const running = createSemaphore(1);
  await running.acquire();
  let time = NOW;
  const { steps, requests } = build([more], { running, now: () => time });
  const late = assert.rejects(steps.deleteBatch(ctx, record, 1), ExecutionTimeoutError);
  await settle();
  time = record.deadline + 1;
  running.release();
  await late;
  assert.deepEqual(requests, []);
});

test("past the deadline nothing is tried any more, whatever chance says", async (t) => {
  const effects = { failureRate: 0.99, random: () => 0 };
  const { steps, requests, log } = build([more], { ...effects, now: () => record.deadline + 1 });
  const late = steps.deleteBatch(await makeContext(t, "step-2"), record, 2);
  await assert.rejects(late, (error) => {
    assert.ok(error instanceof ExecutionTimeoutError);
    assert.deepEqual(
      [error.name, error.code, error.canRetry],
      ["ExecutionTimeoutError", "EXECUTION_TIMEOUT", false],
    );
    assert.equal(error.message, "expected record r-1 to be done by 2026-11-23T21:00:01.000Z, got to batch 2");
    return true;
  });
  assert.deepEqual([requests, log.lines], [[], []]);

  const inTime = build([more], { now: () => record.deadline });
  assert.equal(await inTime.steps.deleteBatch(await makeContext(t, "step-2"), record, 2), true);
});

test("a failure of the row store is passed on as it is", async (t) => {
  const failure = new RecordStoreError("STORE_FAILED", "locked");
  const { steps, log } = build([failure]);
  const failed = steps.deleteBatch(await makeContext(t, "step-1"), record, 1);
  await assert.rejects(failed, (error) => error === failure);
  assert.deepEqual(log.lines, [], "nothing is said to be deleted");
});

test("the completion is [recordId, offset], keyed by record and marked with its step", async (t) => {
  const { steps, producer } = build([]);
  await steps.enqueueCompletion(await makeContext(t, "step-9"), { ...record, recordId: 'r "1"' });
  assert.deepEqual(producer.sent, [
    {
      topic: "completions",
      acks: -1,
      message: { key: 'r "1"', value: '["r \\"1\\"","41"]', headers: { "step-id": "step-9" } },
    },
  ]);
});

test("the dead letter is the record again, with where, when and why", async (t) => {
  const { steps, producer, log } = build([]);
  const cause = new Error("no more tries", { cause: new Error("locked") });
  await steps.enqueueDeadLetter(await makeContext(t, "step-9"), { ...record, attempt: 2 }, cause);
  const [sent, ...others] = producer.sent;
  assert.deepEqual(others, []);
  assert.deepEqual([sent?.topic, sent?.acks, sent?.message.key], ["dead-letters", -1, "r-1"]);
  assert.deepEqual(sent?.message.headers, {
    "step-id": "step-9",
    "redrive-attempt": "2",
    [HEADERS.reason]: "execution-failed",
    [HEADERS.error]: "no more tries: locked",
    [HEADERS.topic]: "source",
    [HEADERS.partition]: "3",
    [HEADERS.offset]: "41",
    [HEADERS.time]: "2026-11-23T21:00:00.000Z",
  });
  assert.deepEqual(log.lines, [
    "error record r-1 in position 41 goes to dead-letters: no more tries: locked",
  ]);
});

test("a dead letter's value names the same record when it is read again", async (t) => {
  for (const recordId of ["r-1", '"', "[x", "{", "\\", "記録🙂", " "]) {
    const { steps, producer } = build([]);
    await steps.enqueueDeadLetter(await makeContext(t, "step-9"), { ...record, recordId }, new Error("x"));
    const value = Buffer.from(producer.sent[0]?.message.value ?? "");
    assert.deepEqual(parseRecordId(value), { ok: true, recordId });
  }
});

test("what a step threw that is no error is told, too", async (t) => {
  const { steps, producer } = build([]);
  await steps.enqueueDeadLetter(await makeContext(t, "step-9"), record, "just text");
  assert.equal(producer.sent[0]?.message.headers?.[HEADERS.error], "just text");
});

test("a failure of the producer is passed on, and nothing is said to be sent", async (t) => {
  const failure = new Error("broker gone");
  const ctx = await makeContext(t, "step-9");
  for (const name of ["enqueueCompletion", "enqueueDeadLetter"] as const) {
    const { steps, log } = build([], { producer: createFakeProducer([failure]) });
    await assert.rejects(steps[name](ctx, record, new Error("cause")), (error) => error === failure);
    assert.deepEqual(log.lines, []);
  }
});
