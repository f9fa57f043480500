import assert from "node:assert/strict";
import { test } from "node:test";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { doneWithin, oneAtATime, retryUntilDone, withTimeout } from "../../src/support/retry.ts";
import { mockTimers, settle } from "../helpers/unit-time.ts";

const never = new AbortController().signal;

test("doneWithin tells whether work was done in time", async (t) => {
  const timers = mockTimers(t);
  assert.equal(await doneWithin(Promise.resolve("result"), 100), true);

  const work = Promise.withResolvers<void>();
  const done: boolean[] = [];
  const waiting = doneWithin(work.promise, 100).then((answer) => done.push(answer));
  await timers.advance(99);
  assert.deepEqual(done, []);
  await timers.advance(1);
  assert.deepEqual(done, [false]);
  await waiting;
});

test("doneWithin rejects as the work does, and a rejection that comes too late disturbs nobody", async (t) => {
  const timers = mockTimers(t);
  await assert.rejects(doneWithin(Promise.reject(new RangeError("bad")), 100), RangeError);

  const work = Promise.withResolvers<void>();
  const waiting = doneWithin(work.promise, 100);
  await timers.advance(100);
  assert.equal(await waiting, false);
  // node:test fails the test of an unhandled rejection.
  work.reject(new Error("too late"));
  await settle();
});

test("doneWithin leaves no timer behind", async () => {
  const timers = () => process.getActiveResourcesInfo().filter((resource) => resource === "Timeout").length;
  const before = timers();
  await doneWithin(Promise.resolve(), 60_000);
  await doneWithin(Promise.reject(new Error("bad")), 60_000).catch(() => {});
  assert.equal(timers(), before);
});

test("doneWithin tells all who wait for the same work", async () => {
  const work = Promise.withResolvers<void>();
  const waits = [
    doneWithin(work.promise, 60_000),
    doneWithin(work.promise, 0),
    doneWithin(work.promise, 60_000),
  ];
  assert.equal(await waits[1], false);
  work.resolve();
  assert.deepEqual(await Promise.all(waits), [true, false, true]);
  assert.equal(await doneWithin(work.promise, 60_000), true);
});

test("doneWithin keeps nothing of its waits for work that stays pending", async () => {
  const { gc } = globalThis;
  if (gc === undefined) setFlagsFromString("--expose-gc");
  const collect: () => void = gc ?? runInNewContext("gc");
  const pending = new Promise(() => {});
  const wait = async (times: number) => {
    for (let i = 0; i < times; i += 500) {
      await Promise.all(Array.from({ length: 500 }, () => doneWithin(pending, 0)));
    }
    collect();
    return process.memoryUsage().heapUsed;
  };
  const before = await wait(5000);
  const bytes = ((await wait(20_000)) - before) / 20_000;
  assert.ok(bytes < 40, `expected nothing to be kept, got ${bytes.toFixed(0)} bytes a wait`);
});

test("withTimeout gives the result, the work's own error, or an error that names the work", async (t) => {
  const timers = mockTimers(t);
  assert.equal(await withTimeout(Promise.resolve(7), 100, "a number"), 7);
  await assert.rejects(withTimeout(Promise.reject(new RangeError("bad")), 100, "a number"), RangeError);

  const late = assert.rejects(withTimeout(new Promise(() => {}), 100, "a number"), {
    name: "TimeoutError",
    code: "TIMEOUT",
    canRetry: true,
    message: "expected a number within 100 ms, got no answer",
  });
  await timers.advance(100);
  await late;
});

test("retryUntilDone tries until it succeeds, with delays that double up to a bound", async (t) => {
  const timers = mockTimers(t);
  let tries = 0;
  const told: [string, number][] = [];
  const work = async () => {
    tries += 1;
    if (tries <= 6) throw new Error(`failure ${tries}`);
    return "result";
  };
  const result = retryUntilDone(work, {
    signal: never,
    minDelayMs: 100,
    maxDelayMs: 1000,
    onFailure: (error, retryInMs) => told.push([String(error), retryInMs]),
  });
  const delays = [100, 200, 400, 800, 1000, 1000];
  for (const [index, delay] of delays.entries()) {
    await timers.advance(delay - 1);
    assert.equal(tries, index + 1, `${delay - 1} ms after failure ${index + 1}`);
    await timers.advance(1);
    assert.equal(tries, index + 2, `${delay} ms after failure ${index + 1}`);
  }
  assert.equal(await result, "result");
  assert.deepEqual(
    told,
    delays.map((delay, index) => [`Error: failure ${index + 1}`, delay]),
  );
});

test("retryUntilDone does not begin once aborted", async () => {
  const reason = new Error("stopping");
  let tries = 0;
  const work = async () => {
    tries += 1;
  };
  const tried = retryUntilDone(work, { signal: AbortSignal.abort(reason), onFailure: () => {} });
  await assert.rejects(tried, reason);
  assert.equal(tries, 0);
});

test("an abort ends the wait at once, with its reason and without another try", async (t) => {
  mockTimers(t);
  const stop = new AbortController();
  const reason = new Error("stopping");
  let tries = 0;
  const failing = async () => {
    tries += 1;
    throw new Error("down");
  };
  const rejected = assert.rejects(
    retryUntilDone(failing, { signal: stop.signal, onFailure: () => {} }),
    reason,
  );
  await settle();
  stop.abort(reason);
  await rejected;
  assert.equal(tries, 1);
});

test("an abort during a try that fails gives the abort's reason and tells of no failure", async () => {
  const stop = new AbortController();
  const reason = new Error("stopping");
  const told: unknown[] = [];
  const work = async () => {
    stop.abort(reason);
    throw new Error("down");
  };
  const rejected = retryUntilDone(work, { signal: stop.signal, onFailure: (error) => told.push(error) });
  await assert.rejects(rejected, reason);
  assert.deepEqual(told, []);
});

test("a try that succeeds after an abort has succeeded", async () => {
  const stop = new AbortController();
  const work = async () => {
    stop.abort();
    return "result";
  };
  assert.equal(await retryUntilDone(work, { signal: stop.signal, onFailure: () => {} }), "result");
});

test("what runs one at a time is not begun again before it has ended", async () => {
  const ends: PromiseWithResolvers<void>[] = [];
  const run = oneAtATime(() => {
    const end = Promise.withResolvers<void>();
    ends.push(end);
    return end.promise;
  });
  const [first, second] = [run(), run()];
  assert.equal(ends.length, 1);
  ends[0]?.resolve();
  await Promise.all([first, second]);
  const third = run();
  assert.equal(ends.length, 2);
  ends[1]?.reject(new Error("refused"));
  await assert.rejects(third, /refused/);
});
