import assert from "node:assert/strict";
import { test } from "node:test";
import { setImmediate } from "node:timers/promises";
import { createBatches } from "../../src/support/batches.ts";

const OUTAGE = "away";

/** Batches of text, answered in capitals. `fault` throws for a batch, or says what is not answered in it. */
const start = ({ maxSize = 32, maxRunning = 1 } = {}) => {
  const ran: string[][] = [];
  const own = {
    ran,
    fault: (_batch: readonly string[]): string | undefined => undefined,
    hold: Promise.resolve(),
  };
  const ask = createBatches<string, string>({
    run: async (requests) => {
      ran.push([...requests]);
      const unanswered = own.fault(requests);
      await own.hold;
      return requests.map((request) => (request === unanswered ? undefined : request.toUpperCase()));
    },
    isOutage: (error) => error instanceof Error && error.message === OUTAGE,
    maxSize,
    maxRunning,
  });
  return Object.assign(own, { ask });
};

const outcomes = async (asked: readonly Promise<string>[]) =>
  (await Promise.allSettled(asked)).map((one) =>
    one.status === "fulfilled" ? one.value : String(one.reason.message),
  );

test("requests of one turn run together, in the order in which they came", async () => {
  const { ask, ran } = start();
  assert.deepEqual(await outcomes([ask("b"), ask("a"), ask("c")]), ["B", "A", "C"]);
  assert.deepEqual(ran, [["b", "a", "c"]]);
});

test("what comes while as many run as may waits, and goes together", async () => {
  const own = start({ maxSize: 3, maxRunning: 2 });
  const held = Promise.withResolvers<void>();
  own.hold = held.promise;
  const asked = [own.ask("a")];
  await setImmediate();
  asked.push(own.ask("b"));
  await setImmediate();
  asked.push(...["c", "d", "e", "f"].map(own.ask));
  await setImmediate();
  assert.deepEqual(own.ran, [["a"], ["b"]]);
  held.resolve();
  assert.deepEqual(await outcomes(asked), ["A", "B", "C", "D", "E", "F"]);
  assert.deepEqual(own.ran.slice(2), [["c", "d", "e"], ["f"]]);
});

test("one that has no answer runs alone again, the others keep theirs", async () => {
  const own = start();
  own.fault = (batch) => (batch.length > 1 ? "b" : undefined);
  assert.deepEqual(await outcomes(["a", "b", "c"].map(own.ask)), ["A", "B", "C"]);
  assert.deepEqual(own.ran, [["a", "b", "c"], ["b"]]);
});

test("when a batch fails each runs alone again, and only the bad one fails", async () => {
  const own = start();
  own.fault = (batch) => {
    if (batch.includes("b")) throw new Error("bad");
    return undefined;
  };
  assert.deepEqual(await outcomes(["a", "b", "c"].map(own.ask)), ["A", "bad", "C"]);
  assert.deepEqual(own.ran, [["a", "b", "c"], ["a"], ["b"], ["c"]]);
});

test("one that has no answer alone either fails", async () => {
  const own = start();
  own.fault = () => "a";
  assert.deepEqual(await outcomes([own.ask("a")]), ["expected an answer, got none"]);
});

test("an outage fails all that wait at once, and what comes later runs", async () => {
  const own = start({ maxSize: 2 });
  own.fault = () => {
    throw new Error(OUTAGE);
  };
  assert.deepEqual(await outcomes(["a", "b", "c", "d", "e"].map(own.ask)), Array(5).fill(OUTAGE));
  assert.deepEqual(own.ran, [["a", "b"]]);
  own.fault = () => undefined;
  assert.equal(await own.ask("f"), "F");
});
