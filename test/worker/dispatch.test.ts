import assert from "node:assert/strict";
import { test } from "node:test";
import { RefusedError } from "../../src/resonate/refusals.ts";
import type { Begin, Begun } from "../../src/worker/begin.ts";
import { EXECUTION_FAILED, HEADERS } from "../../src/worker/dead-letter.ts";
import { createDispatch, type DispatchOptions, executionId } from "../../src/worker/dispatch.ts";
import { decodeEnvelope, type Envelope, unpackMessage } from "../../src/worker/envelope.ts";
import { createInFlight } from "../../src/worker/in-flight.ts";
import type { Reading, SourceMessage } from "../../src/worker/job.ts";
import { checkId } from "../../src/worker/message-id.ts";
import { createMemoryLog } from "../helpers/unit-log.ts";
import { createMessage } from "../helpers/unit-message.ts";
import { createFakeProducer } from "../helpers/unit-producer.ts";
import { mockTimers, settle } from "../helpers/unit-time.ts";

const NOW = Date.parse("2026-11-23T21:00:00Z");
const never = new AbortController().signal;
const started: Begun = { outcome: "started", ended: () => new Promise(() => {}) };

/** A job whose messages are their ids; what begins with '!' it cannot read. */
const read = ({ value }: SourceMessage): Reading<unknown> => {
  const id = String(value ?? "!none");
  return id.startsWith("!")
    ? { ok: false, reason: "not-for-us", detail: `expected an id, got ${id}` }
    : { ok: true, id, input: { name: id } };
};

const build = (options: Partial<DispatchOptions> & { failures?: number; max?: number } = {}) => {
  const { failures = 0, max = 100, ...overrides } = options;
  const begun: [id: string, envelope: Envelope][] = [];
  let tries = 0;
  const begin: Begin = async (id, text) => {
    tries += 1;
    if (tries <= failures) throw new Error("server gone");
    begun.push([id, decodeEnvelope(text)]);
    return started;
  };
  const inFlight = createInFlight(max);
  const log = createMemoryLog();
  const producer = createFakeProducer();
  const dispatch = createDispatch({
    read,
    service: "job:source",
    begin,
    inFlight,
    producer,
    topics: { source: "source", deadLetters: "dead-letters" },
    workflowTimeoutMs: 5000,
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

test("a good message begins the execution that bears its id, with all it needs for its life", async () => {
  const { dispatch, begun, inFlight, log, producer } = build();
  const key = Buffer.from([0xff]);
  const headers = { trace: Buffer.from("t") };
  await dispatch(createMessage("m-1", { offset: "41", key, headers }), 3, never);
  assert.equal(begun.length, 1);
  const [id, { original, ...envelope }] = begun[0] ?? assert.fail();
  assert.equal(id, "m-1");
  assert.deepEqual(envelope, {
    id: "m-1",
    partition: 3,
    offset: "41",
    redrives: 0,
    deadline: NOW + 5000,
    args: [{ name: "m-1" }],
  });
  assert.deepEqual(unpackMessage(original ?? assert.fail()), { key, value: Buffer.from("m-1"), headers });
  assert.equal(inFlight.size, 1);
  assert.equal(producer.calls, 0);
  assert.deepEqual(log.lines, ["info kicked off workflow for record m-1 (partition=3, offset=41)"]);
  assert.deepEqual(log.fields, [{ recordId: "m-1", partition: 3, offset: "41" }]);
});

test("a message that is too large to keep begins an execution that knows where it stands", async () => {
  const { dispatch, begun } = build();
  await dispatch(createMessage("m-1", { key: Buffer.alloc(40_000), offset: "41" }), 3, never);
  const [, { original, partition, offset }] = begun[0] ?? assert.fail();
  assert.deepEqual([original, partition, offset], [null, 3, "41"]);
});

test("a message that comes again begins the same execution, under the same id", async () => {
  const { dispatch, begun, inFlight } = build({ max: 1 });
  for (let round = 0; round < 3; round++) await dispatch(createMessage("m-1"), 0, never);
  assert.deepEqual(
    begun.map(([id]) => id),
    ["m-1", "m-1", "m-1"],
  );
  assert.equal(inFlight.size, 1);
});

test("a bad message goes to the dead letters as it came, with where and why", async () => {
  const { dispatch, begun, inFlight, log, producer } = build();
  const key = Buffer.from([0xff, 1]);
  const message = createMessage(Buffer.from([0x21, 0xfe, 0xff]), {
    key,
    headers: { trace: Buffer.from("t") },
  });
  await dispatch(message, 3, never);
  const [sent, ...others] = producer.sent;
  assert.deepEqual(others, []);
  assert.deepEqual([sent?.topic, sent?.acks], ["dead-letters", -1]);
  assert.equal(sent?.message.key, key);
  assert.equal(sent?.message.value, message.value);
  assert.deepEqual(sent?.message.headers, {
    trace: Buffer.from("t"),
    [HEADERS.reason]: "not-for-us",
    [HEADERS.error]: "expected an id, got !\ufffd\ufffd",
    [HEADERS.topic]: "source",
    [HEADERS.partition]: "3",
    [HEADERS.offset]: "41",
    [HEADERS.time]: "2026-11-23T21:00:00.000Z",
  });
  assert.deepEqual([begun, inFlight.size], [[], 0]);
  assert.deepEqual(log.lines, [
    "warn message goes to dead-letters (partition=3, offset=41): not-for-us: expected an id, got !\ufffd\ufffd",
  ]);
});

test("a tombstone that the job cannot read is a bad message, too", async () => {
  const { dispatch, producer } = build();
  await dispatch(createMessage(null, { key: null }), 0, never);
  assert.equal(producer.sent[0]?.message.headers?.[HEADERS.reason], "not-for-us");
  assert.deepEqual([producer.sent[0]?.message.key, producer.sent[0]?.message.value], [null, null]);
});

test("a job that throws as it reads, or reads what JSON cannot hold, makes a dead letter of the message", async () => {
  const broken: [DispatchOptions["read"], string, RegExp][] = [
    [() => JSON.parse("{").id, "read-failed", /JSON/],
    [({ value }) => ({ ok: true, id: String(value), input: 1n }), "input-not-json", /BigInt/],
    ...["5", "null", "{}", '{"ok":true,"id":5,"input":1}', '{"ok":false,"reason":"odd"}', '{"ok":1}'].map(
      (text): [DispatchOptions["read"], string, RegExp] => [
        () => JSON.parse(text),
        "read-failed",
        /^expected the job to read a message as .+, got /,
      ],
    ),
  ];
  for (const [read, reason, expected] of broken) {
    const { dispatch, begun, producer } = build({ read });
    await dispatch(createMessage("m-1"), 0, never);
    assert.deepEqual(begun, []);
    const headers = producer.sent[0]?.message.headers;
    assert.equal(headers?.[HEADERS.reason], reason);
    assert.match(String(headers?.[HEADERS.error]), expected);
  }
});

test("an id that cannot name an execution makes a dead letter, whatever the job thinks of it", async () => {
  const ids = {
    "id-colon": "a:b",
    "id-empty": "",
    "id-too-long": "x".repeat(256),
    "id-control-character": "\n",
  };
  for (const [reason, id] of Object.entries(ids)) {
    const { dispatch, begun, producer } = build();
    await dispatch(createMessage(id), 0, never);
    assert.deepEqual(begun, []);
    assert.equal(producer.sent[0]?.message.headers?.[HEADERS.reason], reason);
  }
});

test("headers that kafkajs reads but cannot write go along in a form that it can", async () => {
  const { dispatch, begun, producer } = build();
  // As kafkajs reads them, against its types.
  const headers = JSON.parse('{"none": null, "many": [null, "a"]}');
  for (const value of ["m-1", "!"]) await dispatch(createMessage(value, { headers }), 0, never);
  const [, { original }] = begun[0] ?? assert.fail();
  const { headers: kept } = unpackMessage(original ?? assert.fail());
  assert.deepEqual(kept, { none: Buffer.alloc(0), many: [Buffer.alloc(0), Buffer.from("a")] });
  const sent = producer.sent[0]?.message.headers;
  assert.deepEqual([sent?.none, sent?.many], ["", ["", "a"]]);
});

test("a message that was driven again runs under an id of its own", async () => {
  const { dispatch, begun } = build();
  for (const header of ["1", Buffer.from("12"), "0"]) {
    await dispatch(createMessage("m-1", { headers: { "redrive-count": header } }), 0, never);
  }
  assert.deepEqual(
    begun.map(([promiseId, { id, redrives }]) => [promiseId, id, redrives]),
    [
      ["m-1\u001f1", "m-1", 1],
      ["m-1\u001f12", "m-1", 12],
      ["m-1", "m-1", 0],
    ],
  );
});

test("no id of a message can be that of another's later execution", () => {
  const id = executionId("m-1", 1);
  assert.notEqual(checkId(id), undefined);
  assert.equal(executionId("m-1", 0), "m-1");
});

test("a redrive count that this application did not write makes a dead letter", async () => {
  const headers = ["", "-1", "1.5", "x", "1e3", "9".repeat(10), ["1", "2"], Buffer.from([0xff])];
  for (const header of headers) {
    const { dispatch, begun, producer } = build();
    await dispatch(createMessage("m-1", { headers: { "redrive-count": header } }), 0, never);
    assert.deepEqual(begun, [], String(header));
    const sent = producer.sent[0]?.message.headers;
    assert.equal(sent?.[HEADERS.reason], "invalid-redrive-count");
    assert.deepEqual(sent?.["redrive-count"], header);
  }
});

test("an execution that cannot be begun is tried until it is, and one line in five seconds tells of it", async (t) => {
  let time = NOW;
  const { dispatch, begun, log, tries } = build({ failures: 8, now: () => time });
  const timers = mockTimers(t);
  const work = track(dispatch(createMessage("m-1"), 3, never));
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
    "warn cannot start an execution for m-1 (partition=3, offset=41), trying on: server gone",
  );
  assert.equal(warnings.length, 4, log.lines.join("\n"));
});

test("however many messages wait for the server, all are begun once it is back", async (t) => {
  const { dispatch, begun } = build({ failures: 200 });
  const timers = mockTimers(t);
  const ids = Array.from({ length: 50 }, (_, index) => `m-${index}`);
  const works = ids.map((id) => track(dispatch(createMessage(id), 0, never)));
  for (let round = 0; round < 5; round++) await timers.advance(5000);
  assert.deepEqual(begun.map(([id]) => id).sort(), ids.sort());
  assert.ok(works.every(({ ended, error }) => ended && error === undefined));
});

test("the deadline counts from the start of the execution, not from before its message waited", async (t) => {
  let time = NOW;
  const { dispatch, begun, inFlight } = build({ failures: 1, max: 1, now: () => time });
  const timers = mockTimers(t);
  await inFlight.enter("other", never);
  const work = dispatch(createMessage("m-1"), 0, never);
  await settle();
  time += 60_000;
  inFlight.leave("other");
  await settle();
  time += 60_000;
  await timers.advance(200);
  await work;
  assert.equal(begun[0]?.[1].deadline, NOW + 120_000 + 5000);
});

test("a begin that is never answered is given up and tried again", async (t) => {
  const asked: string[] = [];
  const begin: Begin = (id) => {
    asked.push(id);
    return asked.length === 1 ? new Promise<Begun>(() => {}) : Promise.resolve(started);
  };
  const { dispatch, log } = build({ begin });
  const timers = mockTimers(t);
  const work = track(dispatch(createMessage("m-1"), 0, never));
  await timers.advance(14_999);
  assert.equal(work.ended, false);
  await timers.advance(1);
  await timers.advance(200);
  assert.deepEqual(work, { ended: true, error: undefined });
  assert.deepEqual(asked, ["m-1", "m-1"]);
  assert.match(log.lines.join(), /expected an execution within 15000 ms, got no answer/);
});

test("a message is not done before its dead letter is written, however often that fails", async (t) => {
  const producer = createFakeProducer(Array.from({ length: 6 }, () => new Error("broker gone")));
  const { dispatch } = build({ producer });
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

test("an abort ends each of the waits with its reason, and leaves no room taken", async () => {
  const reason = new Error("stopping");
  const gone = createFakeProducer(Array.from({ length: 100 }, () => new Error("broker gone")));
  for (const [value, options] of [
    ["m-1", { failures: 1000 }],
    ["a:b", { producer: gone }],
  ] as const) {
    const { dispatch, inFlight } = build(options);
    const stop = new AbortController();
    const rejected = assert.rejects(dispatch(createMessage(value), 0, stop.signal), reason);
    await settle();
    stop.abort(reason);
    await rejected;
    assert.equal(inFlight.size, 0);
  }
});

test("a dispatch that comes after the abort begins nothing", async () => {
  const reason = new Error("stopping");
  for (const value of ["m-1", "a:b"]) {
    const { dispatch, begun, inFlight, producer } = build();
    await assert.rejects(dispatch(createMessage(value), 0, AbortSignal.abort(reason)), reason);
    assert.deepEqual([begun, inFlight.size, producer.calls], [[], 0, 0]);
  }
});

test("beyond the bound a message waits until an execution has ended; dead letters do not", async () => {
  const { dispatch, begun, inFlight, producer } = build({ max: 2 });
  await dispatch(createMessage("m-1"), 0, never);
  await dispatch(createMessage("m-2"), 0, never);
  const work = track(dispatch(createMessage("m-3"), 0, never));
  await dispatch(createMessage("a:b"), 0, never);
  assert.equal(producer.sent.length, 1);
  await settle();
  assert.deepEqual([work.ended, begun.length], [false, 2]);
  inFlight.leave("m-1");
  await settle();
  assert.equal(work.ended, true);
  assert.deepEqual(
    begun.map(([id]) => id),
    ["m-1", "m-2", "m-3"],
  );
});

test("a message that waits for room gives up at an abort", async () => {
  const { dispatch, begun, inFlight } = build({ max: 1 });
  await dispatch(createMessage("m-1"), 0, never);
  const reason = new Error("stopping");
  const stop = new AbortController();
  const rejected = assert.rejects(dispatch(createMessage("m-2"), 0, stop.signal), reason);
  stop.abort(reason);
  await rejected;
  assert.deepEqual([begun.length, inFlight.size], [1, 1]);
});

test("an execution that had ended before takes no room; one that runs elsewhere gives it back at its end", async () => {
  const outcomes: Record<string, Begun["outcome"]> = {
    new: "started",
    known: "running",
    good: "finished",
    bad: "failed",
  };
  const ends = new Map<string, PromiseWithResolvers<unknown>>();
  const begin: Begin = async (id) => ({
    ...started,
    outcome: outcomes[id] ?? assert.fail(),
    ended: () => ends.getOrInsertComputed(id, () => Promise.withResolvers<unknown>()).promise,
  });
  const { dispatch, inFlight } = build({ begin });
  for (const id of Object.keys(outcomes)) await dispatch(createMessage(id), 0, never);
  assert.equal(inFlight.size, 2);
  assert.deepEqual([...ends.keys()], ["known"], "the server is asked for the end of that one alone");
  ends.get("known")?.resolve("done");
  await settle();
  assert.equal(inFlight.size, 1);
  inFlight.leave("new");
  assert.equal(inFlight.size, 0);
});

/** Dispatches a message whose execution is found as `begun` says. */
const dispatchFound = async (found: Partial<Begun>) => {
  const ids: string[] = [];
  const begin: Begin = async (id) => {
    ids.push(id);
    return { ...started, ...found };
  };
  const built = build({ begin });
  await built.dispatch(createMessage("m-1", { offset: "41" }), 3, never);
  return { ...built, ids };
};

test("what was found under a message's id is told", async () => {
  for (const [outcome, line] of [
    ["started", "kicked off workflow for record m-1"],
    ["running", "record m-1 is at work already"],
    ["finished", "record m-1 was finished before"],
  ] as const) {
    const { log, producer } = await dispatchFound({ outcome });
    assert.deepEqual([log.lines, producer.calls], [[`info ${line} (partition=3, offset=41)`], 0]);
  }
});

test("a message whose execution has failed before goes to the dead letters again, with that failure", async () => {
  const { producer, inFlight } = await dispatchFound({
    outcome: "failed",
    error: new Error("no more tries"),
  });
  const { key, value, headers } = producer.sent[0]?.message ?? assert.fail();
  assert.deepEqual([key, value], [Buffer.from("key"), Buffer.from("m-1")]);
  assert.equal(headers?.[HEADERS.reason], EXECUTION_FAILED);
  assert.equal(headers?.[HEADERS.error], "no more tries");
  assert.equal(inFlight.size, 0);
});

test("an id that another service has is no hindrance: the message runs under one of its service's own", async () => {
  const ids: string[] = [];
  const begin: Begin = async (id) => {
    ids.push(id);
    return ids.length === 1 ? { ...started, outcome: "taken", service: "other:topic" } : started;
  };
  const { dispatch, inFlight, producer } = build({ begin });
  await dispatch(createMessage("m-1"), 0, never);
  assert.deepEqual(ids, ["m-1", "m-1\u001fjob%3Asource"]);
  assert.notEqual(checkId(ids[1] ?? ""), undefined, "no message's own id");
  assert.deepEqual([inFlight.size, producer.calls], [1, 0]);
});

test("an id of another program, or both ids taken, makes a dead letter", async () => {
  for (const [service, ids] of [
    [undefined, ["m-1"]],
    ["other:topic", ["m-1", "m-1\u001fjob%3Asource"]],
  ] as const) {
    const found = await dispatchFound({ outcome: "taken", service });
    assert.deepEqual(found.ids, ids);
    assert.equal(found.producer.sent[0]?.message.headers?.[HEADERS.reason], "id-taken");
    assert.equal(found.inFlight.size, 0);
  }
});

test("a start that is refused for good makes a dead letter with the server's words, and is not tried again", async () => {
  let tries = 0;
  const begin: Begin = async () => {
    tries += 1;
    throw new RefusedError(413, "too large");
  };
  const { dispatch, inFlight, producer } = build({ begin });
  await dispatch(createMessage("m-1"), 0, never);
  const headers = producer.sent[0]?.message.headers;
  assert.equal(headers?.[HEADERS.reason], "start-refused");
  assert.match(String(headers?.[HEADERS.error]), /too large/);
  assert.deepEqual([tries, inFlight.size], [1, 0]);
});
