import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { parseRecordId } from "../../src/jobs/deletion/message.ts";
import type { RecordMessage } from "../../src/jobs/deletion/workflow.ts";
import { HEADERS } from "../../src/worker/dead-letter.ts";
import { createDispatch, type DispatchOptions, executionId } from "../../src/worker/dispatch.ts";
import { createInFlight } from "../../src/worker/in-flight.ts";
import { createMemoryLog } from "../helpers/unit-log.ts";
import { createMessage } from "../helpers/unit-message.ts";
import { createFakeProducer } from "../helpers/unit-producer.ts";
import { mockTimers, settle } from "../helpers/unit-time.ts";

const NOW = Date.parse("2026-11-23T21:00:00Z");
const never = new AbortController().signal;
const running = { result: () => new Promise<string>(() => {}) };

const build = (
  t: TestContext,
  options: Partial<DispatchOptions> & { failures?: number; max?: number } = {},
) => {
  const { failures = 0, max = 100, ...overrides } = options;
  const begun: [id: string, record: RecordMessage][] = [];
  let tries = 0;
  const begin = async (id: string, record: RecordMessage) => {
    tries += 1;
    if (tries <= failures) throw new Error("server gone");
    begun.push([id, record]);
    return running;
  };
  const inFlight = createInFlight(max, () => NOW);
  t.after(() => inFlight[Symbol.dispose]());
  const log = createMemoryLog();
  const producer = createFakeProducer();
  const dispatch = createDispatch({
    begin,
    inFlight,
    producer,
    topics: { source: "source", deadLetters: "dead-letters" },
    workflowTimeoutMs: 5000,
    batchesPerSegment: 7,
    now: () => NOW,
    log,
    ...overrides,
  });
  return { dispatch, begun, inFlight, log, producer, tries: () => tries };
};

/** Notes when `work` has ended, and how. */
const track = (work: Promise<void>) => {
  const state = { ended: false, error: undefined as unknown };
  work.then(
    () => {
      state.ended = true;
    },
    (error) => {
      state.ended = true;
      state.error = error;
    },
  );
  return state;
};

test("a good message begins the execution that bears its record's id, with all it needs for its life", async (t) => {
  const { dispatch, begun, inFlight, log, producer } = build(t);
  await dispatch(createMessage('["r-1", 7]', { offset: "41" }), 3, never);
  assert.deepEqual(begun, [
    [
      "r-1",
      {
        recordId: "r-1",
        partition: 3,
        offset: "41",
        attempt: 0,
        deadline: NOW + 5000,
        batchesPerSegment: 7,
      },
    ],
  ]);
  assert.equal(inFlight.size, 1);
  assert.equal(producer.calls, 0);
  assert.deepEqual(log.lines, ["info kicked off workflow for record r-1 (partition=3, offset=41)"]);
});

test("a message that comes again begins the same execution, under the same id", async (t) => {
  const { dispatch, begun, inFlight } = build(t, { max: 1 });
  for (let round = 0; round < 3; round++) await dispatch(createMessage("r-1"), 0, never);
  assert.deepEqual(
    begun.map(([id]) => id),
    ["r-1", "r-1", "r-1"],
  );
  assert.equal(inFlight.size, 1);
});

test("a bad message goes to the dead letters as it came, with where and why", async (t) => {
  const { dispatch, begun, inFlight, log, producer } = build(t);
  const key = Buffer.from([0xff, 1]);
  const message = createMessage(Buffer.from([0xfe, 0xff]), { key, headers: { trace: Buffer.from("t") } });
  await dispatch(message, 3, never);
  const [sent, ...others] = producer.sent;
  assert.deepEqual(others, []);
  assert.deepEqual([sent?.topic, sent?.acks], ["dead-letters", -1]);
  assert.equal(sent?.message.key, key);
  assert.equal(sent?.message.value, message.value);
  assert.deepEqual(sent?.message.headers, {
    trace: Buffer.from("t"),
    [HEADERS.reason]: "invalid-utf8",
    [HEADERS.error]: "expected UTF-8 text",
    [HEADERS.topic]: "source",
    [HEADERS.partition]: "3",
    [HEADERS.offset]: "41",
    [HEADERS.time]: "2026-11-23T21:00:00.000Z",
  });
  assert.deepEqual([begun, inFlight.size], [[], 0]);
  assert.deepEqual(log.lines, [
    "warn message goes to dead-letters (partition=3, offset=41): invalid-utf8: expected UTF-8 text",
  ]);
});

test("a tombstone is a bad message, too", async (t) => {
  const { dispatch, producer } = build(t);
  await dispatch(createMessage(null, { key: null }), 0, never);
  assert.equal(producer.sent[0]?.message.headers?.[HEADERS.reason], "empty-value");
  assert.equal(producer.sent[0]?.message.value, null);
});

test("a message that was driven again runs under an id of its own", async (t) => {
  const { dispatch, begun } = build(t);
  for (const header of ["1", Buffer.from("12"), "0"]) {
    await dispatch(createMessage("r-1", { headers: { "redrive-attempt": header } }), 0, never);
  }
  assert.deepEqual(
    begun.map(([id, { recordId, attempt }]) => [id, recordId, attempt]),
    [
      ["r-1\u001f1", "r-1", 1],
      ["r-1\u001f12", "r-1", 12],
      ["r-1", "r-1", 0],
    ],
  );
});

test("no record id can be another's later attempt", () => {
  const id = executionId("r-1", 1);
  assert.ok(!parseRecordId(Buffer.from(id)).ok);
  assert.ok(!parseRecordId(Buffer.from(JSON.stringify(id))).ok);
  assert.equal(executionId("r-1", 0), "r-1");
});

test("a redrive attempt that this application did not write makes a dead letter", async (t) => {
  const headers = ["", "-1", "1.5", "x", "1e3", "9".repeat(10), ["1", "2"], Buffer.from([0xff])];
  for (const header of headers) {
    const { dispatch, begun, producer } = build(t);
    await dispatch(createMessage("r-1", { headers: { "redrive-attempt": header } }), 0, never);
    assert.deepEqual(begun, [], String(header));
    const sent = producer.sent[0]?.message.headers;
    assert.equal(sent?.[HEADERS.reason], "invalid-redrive-attempt");
    assert.deepEqual(sent?.["redrive-attempt"], header);
  }
});

test("an execution that cannot be begun is tried until it is, and one line in five seconds tells of it", async (t) => {
  let time = NOW;
  const { dispatch, begun, log, tries } = build(t, { failures: 8, now: () => time });
  const timers = mockTimers(t);
  const work = track(dispatch(createMessage("r-1"), 3, never));
  for (const delay of [200, 400, 800, 1600, 3200, 5000, 5000, 5000]) {
    assert.deepEqual([work.ended, begun], [false, []]);
    await settle();
    time += delay;
    await timers.advance(delay);
  }
  assert.deepEqual(work, { ended: true, error: undefined });
  assert.equal(begun.length, 1);
  assert.equal(tries(), 9);
  const warnings = log.lines.filter((line) => line.startsWith("warn"));
  assert.equal(
    warnings[0],
    "warn cannot start an execution for record r-1 (partition=3, offset=41), trying on: server gone",
  );
  assert.equal(warnings.length, 4, log.lines.join("\n"));
});

test("however many messages wait for the server, all are begun once it is back", async (t) => {
  const { dispatch, begun } = build(t, { failures: 200 });
  const timers = mockTimers(t);
  const ids = Array.from({ length: 50 }, (_, index) => `r-${index}`);
  const works = ids.map((id) => track(dispatch(createMessage(id), 0, never)));
  for (let round = 0; round < 5; round++) await timers.advance(5000);
  assert.deepEqual(begun.map(([id]) => id).sort(), ids.sort());
  assert.ok(works.every(({ ended, error }) => ended && error === undefined));
});

test("the deadline is that of the first try, however long the server was gone", async (t) => {
  let time = NOW;
  const { dispatch, begun } = build(t, { failures: 1, now: () => time });
  const timers = mockTimers(t);
  const work = dispatch(createMessage("r-1"), 0, never);
  await settle();
  time += 60_000;
  await timers.advance(200);
  await work;
  assert.equal(begun[0]?.[1].deadline, NOW + 5000);
});

test("a begin that is never answered is given up and tried again", async (t) => {
  const asked: string[] = [];
  const begin = (id: string) => {
    asked.push(id);
    return asked.length === 1 ? new Promise<typeof running>(() => {}) : Promise.resolve(running);
  };
  const { dispatch, log } = build(t, { begin });
  const timers = mockTimers(t);
  const work = track(dispatch(createMessage("r-1"), 0, never));
  await timers.advance(14_999);
  assert.equal(work.ended, false);
  await timers.advance(1);
  await timers.advance(200);
  assert.deepEqual(work, { ended: true, error: undefined });
  assert.deepEqual(asked, ["r-1", "r-1"]);
  assert.match(log.lines.join(), /expected an execution within 15000 ms, got no answer/);
});

test("a message is not done before its dead letter is written, however often that fails", async (t) => {
  const producer = createFakeProducer(Array.from({ length: 6 }, () => new Error("broker gone")));
  const { dispatch } = build(t, { producer });
  const timers = mockTimers(t);
  const work = track(dispatch(createMessage("a:b"), 0, never));
  for (const delay of [200, 400, 800, 1600, 3200, 5000]) {
    await timers.advance(delay - 1);
    assert.deepEqual([work.ended, producer.sent.length], [false, 0]);
    await timers.advance(1);
  }
  assert.deepEqual(work, { ended: true, error: undefined });
  assert.equal(producer.sent.length, 1);
});

test("an abort ends each of the waits with its reason, and leaves no room taken", async (t) => {
  const reason = new Error("stopping");
  const gone = createFakeProducer(Array.from({ length: 100 }, () => new Error("broker gone")));
  for (const [value, options] of [
    ["r-1", { failures: 1000 }],
    ["a:b", { producer: gone }],
  ] as const) {
    const { dispatch, inFlight } = build(t, options);
    const stop = new AbortController();
    const rejected = assert.rejects(dispatch(createMessage(value), 0, stop.signal), reason);
    await settle();
    stop.abort(reason);
    await rejected;
    assert.equal(inFlight.size, 0);
  }
});

test("a dispatch that comes after the abort begins nothing", async (t) => {
  const reason = new Error("stopping");
  for (const value of ["r-1", "a:b"]) {
    const { dispatch, begun, inFlight, producer } = build(t);
    await assert.rejects(dispatch(createMessage(value), 0, AbortSignal.abort(reason)), reason);
    assert.deepEqual([begun, inFlight.size, producer.calls], [[], 0, 0]);
  }
});

test("beyond the bound a message waits until an execution has ended; dead letters do not", async (t) => {
  const { dispatch, begun, inFlight, producer } = build(t, { max: 2 });
  await dispatch(createMessage("r-1"), 0, never);
  await dispatch(createMessage("r-2"), 0, never);
  const work = track(dispatch(createMessage("r-3"), 0, never));
  await dispatch(createMessage("a:b"), 0, never);
  assert.equal(producer.sent.length, 1);
  await settle();
  assert.deepEqual([work.ended, begun.length], [false, 2]);
  inFlight.leave("r-1");
  await settle();
  assert.equal(work.ended, true);
  assert.deepEqual(
    begun.map(([id]) => id),
    ["r-1", "r-2", "r-3"],
  );
});

test("a message that waits for room gives up at an abort", async (t) => {
  const { dispatch, begun, inFlight } = build(t, { max: 1 });
  await dispatch(createMessage("r-1"), 0, never);
  const reason = new Error("stopping");
  const stop = new AbortController();
  const rejected = assert.rejects(dispatch(createMessage("r-2"), 0, stop.signal), reason);
  stop.abort(reason);
  await rejected;
  assert.deepEqual([begun.length, inFlight.size], [1, 1]);
});
