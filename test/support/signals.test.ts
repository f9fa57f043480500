import assert from "node:assert/strict";
import { test } from "node:test";
import { aborted, onStopSignals } from "../../src/support/signals.ts";
import { settle } from "../helpers/unit-time.ts";

/** Gives the signal to whoever listened last; the test runner listens, too. */
const deliver = (name: "SIGINT" | "SIGTERM") => {
  const listeners: unknown[] = process.listeners(name);
  const last = listeners.at(-1);
  assert.ok(typeof last === "function");
  last(name);
};

const counts = () => [process.listenerCount("SIGINT"), process.listenerCount("SIGTERM")];

test("the first signal aborts and names itself; a later second one ends the process at once", (t) => {
  const exit = t.mock.method(process, "exit", () => {});
  let time = 1000;
  t.mock.method(performance, "now", () => time);
  for (const [name, code] of [
    ["SIGINT", 130],
    ["SIGTERM", 143],
  ] as const) {
    using stop = onStopSignals();
    assert.equal(stop.signal.aborted, false);
    deliver("SIGTERM");
    assert.equal(stop.signal.aborted, true);
    assert.match(String(stop.signal.reason), /SIGTERM/);
    assert.equal(exit.mock.callCount(), 0);
    time += 500;
    deliver(name);
    assert.equal(exit.mock.callCount(), 0, "so soon it is the first one: a terminal and npm both pass it on");
    time += 1;
    deliver(name);
    assert.deepEqual(exit.mock.calls[0]?.arguments, [code]);
    exit.mock.resetCalls();
  }
});

test("once disposed of it listens no more", () => {
  const before = counts();
  {
    using stop = onStopSignals();
    assert.ok(!stop.signal.aborted);
    assert.deepEqual(
      counts(),
      before.map((count) => count + 1),
    );
  }
  assert.deepEqual(counts(), before);
});

test("aborted resolves at the abort, or at once after it", async () => {
  const stop = new AbortController();
  const told: string[] = [];
  const waiting = aborted(stop.signal).then(() => told.push("told"));
  await settle();
  assert.deepEqual(told, []);
  stop.abort();
  await waiting;
  await aborted(stop.signal);
});
