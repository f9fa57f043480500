import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { createInFlight } from "../../src/worker/in-flight.ts";
import { settle } from "../helpers/unit-time.ts";

const never = new AbortController().signal;

const build = (t: TestContext, max: number) => {
  t.mock.timers.enable({ apis: ["setInterval", "Date"] });
  const inFlight = createInFlight(max, Date.now);
  t.after(() => inFlight[Symbol.dispose]());
  return inFlight;
};

test("beyond the bound an execution waits until another has ended", async (t) => {
  const inFlight = build(t, 2);
  await inFlight.enter("a", never);
  await inFlight.enter("b", never);
  const entered: string[] = [];
  void inFlight.enter("c", never).then(() => entered.push("c"));
  await settle();
  assert.deepEqual([entered, inFlight.size], [[], 2]);
  inFlight.leave("x");
  await settle();
  assert.deepEqual(entered, [], "one that was never in flight gives no room");
  inFlight.leave("b");
  await settle();
  assert.deepEqual([entered, inFlight.size], [["c"], 2]);
});

test("an id takes room once, however often it comes, and gives it back once", async (t) => {
  const inFlight = build(t, 1);
  await inFlight.enter("a", never);
  await inFlight.enter("a", never);
  inFlight.leave("a");
  inFlight.leave("a");
  await inFlight.enter("b", never);
  const entered: string[] = [];
  void inFlight.enter("c", never).then(() => entered.push("c"));
  await settle();
  assert.deepEqual(entered, []);
});

test("of two that wait under one id only one takes room", async (t) => {
  const inFlight = build(t, 2);
  await inFlight.enter("a", never);
  await inFlight.enter("b", never);
  const both = Promise.all([inFlight.enter("c", never), inFlight.enter("c", never)]);
  inFlight.leave("a");
  inFlight.leave("b");
  await both;
  await inFlight.enter("d", never);
  assert.equal(inFlight.size, 2);
});

test("an abort ends the wait with its reason and takes no room", async (t) => {
  const inFlight = build(t, 1);
  await inFlight.enter("a", never);
  const stop = new AbortController();
  const reason = new Error("stopping");
  const waiting = assert.rejects(inFlight.enter("b", stop.signal), reason);
  stop.abort(reason);
  await waiting;
  assert.equal(inFlight.size, 1);
  inFlight.leave("a");
  await inFlight.enter("c", never);
});

test("only one that has been in flight for a minute is asked for its end, once, and then gives its room back", async (t) => {
  const inFlight = build(t, 10);
  const asked: string[] = [];
  const ends = new Map<string, PromiseWithResolvers<void>>();
  const begin = async (id: string) => {
    const end = Promise.withResolvers<void>();
    ends.set(id, end);
    await inFlight.enter(id, never);
    inFlight.watch(id, () => {
      asked.push(id);
      return end.promise;
    });
  };
  await begin("completed");
  await begin("failed");
  await begin("seen");
  t.mock.timers.tick(30_000);
  await begin("young");
  inFlight.leave("seen");
  t.mock.timers.tick(25_000);
  assert.deepEqual(asked, []);
  t.mock.timers.tick(10_000);
  t.mock.timers.tick(10_000);
  assert.deepEqual(asked, ["completed", "failed"]);
  assert.equal(inFlight.size, 3);
  ends.get("completed")?.resolve();
  ends.get("failed")?.reject(new Error("execution failed"));
  await settle();
  assert.equal(inFlight.size, 1);
});

test("the end of an earlier execution under an id leaves a later one its room", async (t) => {
  const inFlight = build(t, 10);
  const end = Promise.withResolvers<void>();
  await inFlight.enter("a", never);
  inFlight.watch("a", () => end.promise);
  t.mock.timers.tick(65_000);
  inFlight.leave("a");
  await inFlight.enter("a", never);
  end.resolve();
  await settle();
  assert.equal(inFlight.size, 1);
});
