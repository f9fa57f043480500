import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { startObserver } from "../../src/observe/observer.ts";
import { isHeard, tell, type WorkerState } from "../../src/worker/telemetry.ts";
import { createMemoryLog } from "../helpers/unit-log.ts";

const STATE: WorkerState = {
  inFlight: 0,
  maxInFlight: 10,
  oldestSince: undefined,
  stepsRunning: 0,
  stepsWaiting: 0,
  maxSteps: 16,
  leases: 0,
  clockSkewMs: undefined,
};
const own = { host: "127.0.0.1", version: "1", group: "g", takesMessages: true };

const start = async (t: TestContext) => {
  const log = createMemoryLog();
  const observer = await startObserver({ ...own, port: 0, log });
  t.after(() => observer[Symbol.asyncDispose]());
  const url = /http:\/\/[\d.]+:\d+/.exec(log.lines[0] ?? "")?.[0] ?? "";
  const get = async (path: string) => {
    const response = await fetch(url + path);
    return {
      status: response.status,
      type: response.headers.get("content-type"),
      text: await response.text(),
    };
  };
  return { observer, get };
};

test("without a port nobody listens, neither to the worker nor for requests", async () => {
  const log = createMemoryLog();
  const observer = await startObserver({ ...own, port: "", log });
  observer.observe({
    failed: Promise.reject(new Error("x")).catch(() => new Promise<never>(() => {})),
    state: () => STATE,
  });
  assert.deepEqual(log.lines, []);
  assert.equal(isHeard("request.ended"), false);
  await observer[Symbol.asyncDispose]();
});

test("it answers before the worker has started, and then for it", async (t) => {
  const { observer, get } = await start(t);
  assert.equal((await get("/healthz")).status, 200);
  assert.deepEqual(await get("/readyz"), {
    status: 503,
    type: "application/json",
    text: '{"ok":false,"reasons":["the worker has not joined its consumer group","the Resonate server does not answer"]}\n',
  });
  tell("group.joined", { topic: "t", partitions: [0] });
  tell("request.ended", { kind: "promise.get", status: 200, ms: 1 });
  const failed = Promise.withResolvers<never>();
  observer.observe({ failed: failed.promise, state: () => STATE });
  assert.deepEqual((await get("/readyz")).text, '{"ok":true,"reasons":[]}\n');
  const metrics = await get("/metrics");
  assert.match(metrics.type ?? "", /^text\/plain; version=0\.0\.4/);
  assert.match(metrics.text, /^kafka_worker_ready 1$/m);
  assert.match(metrics.text, /^kafka_worker_executions_limit 10$/m);
  failed.reject(new Error("the consumer crashed"));
  const dead = await get("/healthz");
  assert.equal(dead.status, 503);
  assert.match(dead.text, /the worker cannot go on: the consumer crashed/);
});

test("metrics are rendered once a second, however often they are asked for", async (t) => {
  const { observer, get } = await start(t);
  let asked = 0;
  observer.observe({
    failed: new Promise<never>(() => {}),
    state: () => {
      asked += 1;
      return STATE;
    },
  });
  const startedAt = performance.now();
  await Promise.all(Array.from({ length: 10 }, () => get("/metrics")));
  const once = asked;
  assert.ok(once > 0);
  for (let i = 0; i < 20; i++) await get("/metrics");
  const renders = asked / once;
  assert.ok(renders <= 1 + (performance.now() - startedAt) / 1000, `${renders} times`);
  const deadline = performance.now() + 5000;
  while (asked === once && performance.now() < deadline) await get("/metrics");
  assert.ok(asked > once, "and again later");
});
