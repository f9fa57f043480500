import assert from "node:assert/strict";
import { test } from "node:test";
import { createInFlight } from "../../src/worker/in-flight.ts";
import { settle } from "../helpers/unit-time.ts";

const never = new AbortController().signal;

test("beyond the bound an execution waits until another has ended", async () => {
  const inFlight = createInFlight(2);
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

test("an id takes room once, however often it comes, and gives it back once", async () => {
  const inFlight = createInFlight(1);
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

test("of two that wait under one id only one takes room", async () => {
  const inFlight = createInFlight(2);
  await inFlight.enter("a", never);
  await inFlight.enter("b", never);
  const both = Promise.all([inFlight.enter("c", never), inFlight.enter("c", never)]);
  inFlight.leave("a");
  inFlight.leave("b");
  await both;
  await inFlight.enter("d", never);
  assert.equal(inFlight.size, 2);
});

test("an abort ends the wait with its reason and takes no room", async () => {
  const inFlight = createInFlight(1);
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

/** Executions in flight, whose ends are in the hands of the test. */
const begin = async (...ids: string[]) => {
  const inFlight = createInFlight(10);
  const asked: string[] = [];
  const ends = new Map(ids.map((id) => [id, Promise.withResolvers<void>()]));
  const watch = (id: string) =>
    inFlight.watch(id, `text of ${id}`, {
      ended: async () => {
        asked.push(id);
        await ends.get(id)?.promise;
      },
    });
  for (const id of ids) {
    await inFlight.enter(id, never);
    watch(id);
  }
  return { inFlight, asked, ends, watch };
};

test("only one that may end elsewhere is asked for its end, once, and then gives its room back", async () => {
  const { inFlight, asked, ends } = await begin("completed", "failed", "here");
  await settle();
  assert.deepEqual(asked, []);
  for (let round = 0; round < 3; round++) {
    for (const id of ["completed", "failed", "unknown"]) inFlight.mayEndElsewhere(id);
  }
  assert.deepEqual(asked, ["completed", "failed"]);
  assert.equal(inFlight.size, 3);
  ends.get("completed")?.resolve();
  ends.get("failed")?.reject(new Error("execution failed"));
  await settle();
  assert.equal(inFlight.size, 1);
});

test("one that was seen to sleep before its start was answered is asked for as soon as it is watched", async () => {
  const { inFlight, asked, ends, watch } = await begin();
  await inFlight.enter("early", never);
  inFlight.mayEndElsewhere("early");
  assert.deepEqual(asked, []);
  ends.set("early", Promise.withResolvers<void>());
  watch("early");
  assert.deepEqual(asked, ["early"]);
  ends.get("early")?.resolve();
  await settle();
  assert.equal(inFlight.size, 0);
});

test("one that has ended meanwhile is not asked for", async () => {
  const { inFlight, asked, watch } = await begin("a");
  inFlight.leave("a");
  watch("a");
  inFlight.mayEndElsewhere("a");
  assert.deepEqual([asked, inFlight.size], [[], 0]);
});

test("the end of an earlier execution under an id leaves a later one its room", async () => {
  const { inFlight, ends } = await begin("a");
  inFlight.mayEndElsewhere("a");
  inFlight.leave("a");
  await inFlight.enter("a", never);
  ends.get("a")?.resolve();
  await settle();
  assert.equal(inFlight.size, 1);
});

test("what each was begun with is known until it ends", async () => {
  const { inFlight } = await begin("a", "b");
  await inFlight.enter("waits for its answer", never);
  inFlight.leave("b");
  assert.deepEqual([...inFlight.begun()], [["a", "text of a"]]);
});
