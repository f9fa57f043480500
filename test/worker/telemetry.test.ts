import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { Codec, type PromiseRecord, type Request, type Response } from "@resonatehq/sdk";
import { requestHead } from "../../src/resonate/request.ts";
import { dispatchBatch } from "../../src/worker/batch.ts";
import type { Begin, Begun } from "../../src/worker/begin.ts";
import { KEY_TAG, WORKER_TAG } from "../../src/worker/checkpoint.ts";
import { createDispatch } from "../../src/worker/dispatch.ts";
import { createExecutionEvents } from "../../src/worker/execution-events.ts";
import { createInFlight } from "../../src/worker/in-flight.ts";
import { createPublish } from "../../src/worker/publish.ts";
import { createStepRunner } from "../../src/worker/step.ts";
import { type EventName, type Events, isHeard, listen, tell } from "../../src/worker/telemetry.ts";
import { createMemoryLog } from "../helpers/unit-log.ts";
import { createMessage } from "../helpers/unit-message.ts";
import { createFakeProducer } from "../helpers/unit-producer.ts";
import { settle } from "../helpers/unit-time.ts";

const never = new AbortController().signal;

/** All that is told under one name until the test ends. */
const hear = <E extends EventName>(t: TestContext, name: E): Events[E][] => {
  const told: Events[E][] = [];
  const listener = listen(name, (fields) => void told.push(fields));
  t.after(() => listener[Symbol.dispose]());
  return told;
};

test("an event reaches those who listen, until they no longer do", () => {
  assert.equal(isHeard("group.left"), false);
  const told: string[] = [];
  const listener = listen("group.left", ({ topic }) => void told.push(topic));
  assert.equal(isHeard("group.left"), true);
  tell("group.left", { topic: "a" });
  listener[Symbol.dispose]();
  tell("group.left", { topic: "b" });
  assert.deepEqual([told, isHeard("group.left")], [["a"], false]);
});

test("a completion is told once it is published, and not before", async (t) => {
  const told = hear(t, "completion.published");
  const context = {
    idempotencyKey: "orders/4711/ship/0",
    step: "ship",
    executionId: "4711:d1",
    attempt: 1,
    message: { id: "4711", partition: 1, offset: "41" },
  };
  const publish = createPublish(createFakeProducer([new Error("refused")]), "completions");
  await assert.rejects(publish(context, { key: "k", value: "v" }));
  assert.deepEqual(told, []);
  await publish(context, { key: "k", value: "v" });
  assert.deepEqual(told, [
    { id: "4711", executionId: "4711:d1", topic: "completions", key: "orders/4711/ship/0" },
  ]);
});

test("a batch is told as it comes, and a commit that fails", async (t) => {
  const received = hear(t, "messages.received");
  const failed = hear(t, "commit.failed");
  const outcome = dispatchBatch(
    {
      batch: {
        topic: "t",
        partition: 3,
        highWatermark: "60",
        messages: [createMessage("a", { offset: "40" }), createMessage("b", { offset: "41" })],
        isEmpty: () => false,
        firstOffset: () => "40",
        lastOffset: () => "42",
        offsetLag: () => "0",
        offsetLagLow: () => "0",
      },
      resolveOffset: () => {},
      heartbeat: async () => {},
      commitOffsetsIfNecessary: async () => {
        throw new Error("not the coordinator");
      },
      pause: () => () => {},
      uncommittedOffsets: () => ({ topics: [] }),
      isRunning: () => true,
      isStale: () => false,
    },
    { dispatch: async () => {}, concurrency: 2 },
    never,
  );
  await assert.rejects(outcome, /not the coordinator/);
  assert.deepEqual(received, [{ topic: "t", partition: 3, count: 2, lag: 17, end: 43 }]);
  assert.deepEqual(failed, [{ topic: "t", partition: 3, error: "not the coordinator" }]);
});

test("a message whose id is taken is told under the outcome it comes to", async (t) => {
  const dispatched = hear(t, "message.dispatched");
  const dead = hear(t, "message.dead-letter");
  const begun = (outcome: Begun["outcome"]): Begun => ({
    outcome,
    service: "other:topic",
    ended: () => new Promise(() => {}),
  });
  const dispatchWith = (begin: Begin) =>
    createDispatch({
      read: ({ value }) => ({ ok: true, id: String(value), input: null }),
      service: "job:source",
      begin,
      inFlight: createInFlight(10),
      producer: createFakeProducer(),
      topics: { source: "source", deadLetters: "dead-letters" },
      workflowTimeoutMs: 5000,
      now: () => 2500,
      log: createMemoryLog(),
    })(createMessage("m-1"), 0, never);
  await dispatchWith(async (id) => begun(id === "m-1" ? "taken" : "started"));
  const place = { topic: "source", partition: 0, offset: "41" };
  assert.deepEqual(dispatched, [{ ...place, id: "m-1", outcome: "started", ms: 0, ageMs: 2500 }]);
  await dispatchWith(async () => begun("taken"));
  assert.deepEqual([dispatched.length, dead.map(({ reason }) => reason)], [1, ["id-taken"]]);
});

test("what is in flight says since when, and steps that wait for room are counted", async () => {
  let time = 1000;
  const inFlight = createInFlight(10, () => time);
  assert.equal(inFlight.oldestSince, undefined);
  await inFlight.enter("a", never);
  time = 2000;
  await inFlight.enter("b", never);
  await inFlight.enter("a", never);
  assert.equal(inFlight.oldestSince, 1000);
  inFlight.leave("a");
  assert.equal(inFlight.oldestSince, 2000);

  const end = Promise.withResolvers<void>();
  const runner = createStepRunner({
    concurrency: 1,
    maxAttempts: 1,
    retryDelayMs: 1,
    now: () => 0,
    log: createMemoryLog(),
  });
  const call = { name: "s", key: "k", messageId: "m", executionId: "m", deadline: 1 };
  const steps = [1, 2, 3].map(() => runner.run(call, () => end.promise));
  await settle();
  assert.deepEqual([runner.running, runner.waiting], [1, 2]);
  end.resolve();
  await Promise.all(steps);
  assert.deepEqual([runner.running, runner.waiting], [0, 0]);
});

/** A call as the SDK records it. */
const encodeCall = (func: string) => new Codec().encode({ func, args: [] }).data ?? "";

/** What passes between a worker and the server, of execution r-1. */
const exchange = () => {
  const tellOf = createExecutionEvents({ worker: "w-2", find: () => undefined });
  const head = requestHead();
  const lease = { id: "r-1", version: 2 };
  const promise = (id: string, tags: Record<string, string>, param = ""): PromiseRecord => ({
    id,
    state: "pending",
    param: { headers: {}, data: param },
    value: { headers: {}, data: "" },
    tags,
    timeoutAt: 1000,
    createdAt: 0,
  });
  return {
    acquire: (preload: PromiseRecord[] = []) => {
      const request: Request = { kind: "task.acquire", head, data: { ...lease, pid: "w-2", ttl: 1000 } };
      const response: Response = {
        kind: "task.acquire",
        head: { ...head, status: 200 },
        data: {
          task: { ...lease, state: "acquired", resumes: 0, ttl: 1000, pid: "w-2" },
          promise: promise("r-1", {}),
          preload,
        },
      };
      tellOf(request, response, 1);
    },
    promise,
    lease,
    head,
    tellOf,
  };
};

test("a lost lease is told once, and not of one that was given up", (t) => {
  const lost = hear(t, "lease.lost");
  const { acquire, lease, head, tellOf } = exchange();
  const release: Request = { kind: "task.release", head, data: lease };
  const refused: Response = { kind: "task.release", head: { ...head, status: 409 }, data: "not yours" };
  const released: Response = { kind: "task.release", head: { ...head, status: 200 }, data: {} };
  acquire();
  tellOf(release, refused, 1);
  tellOf(release, refused, 1);
  assert.deepEqual(lost, [{ id: "r-1", executionId: "r-1" }]);
  acquire();
  tellOf(release, released, 1);
  tellOf(release, refused, 1);
  acquire();
  tellOf(release, undefined, 1);
  tellOf(release, refused, 1);
  assert.equal(lost.length, 1);
});

test("a takeover is told of a step that another worker has begun and not ended", (t) => {
  const told = hear(t, "execution.taken-over");
  const { acquire, promise } = exchange();
  const step = (id: string, worker: string) =>
    promise(id, { [WORKER_TAG]: worker, [KEY_TAG]: `job/r-1/${id}/0` }, encodeCall("charge"));
  acquire([step("own", "w-2"), { ...step("ended", "w-1"), state: "resolved" }]);
  assert.deepEqual(told, []);
  acquire([{ ...step("ended", "w-1"), state: "resolved" }, step("cut", "w-1")]);
  assert.deepEqual(told, [
    { id: "r-1", executionId: "r-1", from: "w-1", step: "charge", key: "job/r-1/cut/0" },
  ]);
});
