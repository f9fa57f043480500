import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { type TestContext, test } from "node:test";
import { type Context, Never, Resonate } from "@resonatehq/sdk";
import { connect } from "../../src/resonate/connection.ts";
import { RefusedError } from "../../src/resonate/refusals.ts";
import { silentLog } from "../../src/support/log.ts";
import { createBegin } from "../../src/worker/begin.ts";
import { SERVICE_TAG } from "../../src/worker/service.ts";
import { accessTo, silent } from "../helpers/unit-resonate.ts";
import { until } from "../helpers/unit-time.ts";
import { startServer, type TracedServer } from "../helpers/unit-worker.ts";

/** A worker's way to start executions of one job, whose ends are in the hands of the test. */
const build = (t: TestContext, { url }: TracedServer, name = "orders:topic") => {
  const runs: string[] = [];
  const ends = new Map<string, PromiseWithResolvers<string>>();
  const end = (id: string) => ends.getOrInsertComputed(id, () => Promise.withResolvers<string>());
  const beginnings = createBegin({
    name,
    beginRun: (id, text) => execution.beginRun(id, text, lasting),
    assertFit: async () => {},
  });
  const pid = randomUUID();
  const network = connect({
    access: accessTo(url),
    group: "workers",
    pid,
    ttl: 60_000,
    logger: silent,
    log: silentLog,
    onAnswer: (request, response) => response && beginnings.onAnswer(request, response),
    assertFit: async () => {},
  });
  const resonate = new Resonate({ network, pid, logger: silent });
  const execution = resonate.register(name, async (ctx: Context, text: string) => {
    runs.push(`${ctx.id} ${text}`);
    return end(ctx.id).promise;
  });
  const lasting = resonate.options({ retryPolicy: new Never(), tags: { [SERVICE_TAG]: name } });
  t.after(() => resonate.stop());
  return { begin: beginnings.begin, runs, end, resonate };
};

test("started: an id nobody had asked for, and whose end is told", async (t) => {
  const { begin, runs, end } = build(t, await startServer(t));
  const begun = await begin("x", "input");
  assert.equal(begun.outcome, "started");
  await until("it runs", () => runs.length === 1);
  assert.deepEqual(runs, ["x input"]);
  end("x").resolve("done");
  assert.equal(await begun.ended(), "done");
});

test("running: an id that was started before, by this worker or another, and has not ended", async (t) => {
  const server = await startServer(t);
  const [mine, theirs] = [build(t, server), build(t, server)];
  await mine.begin("x", "input");
  for (const { begin } of [mine, theirs]) {
    const again = await begin("x", "input");
    assert.equal(again.outcome, "running");
  }
  const again = await theirs.begin("x", "input");
  mine.end("x").resolve("done");
  assert.equal(await again.ended(), "done", "its end is told wherever it runs");
  assert.deepEqual([mine.runs.length, theirs.runs], [1, []]);
});

test("finished and failed: an execution that has ended is told apart by how, and runs no more", async (t) => {
  const server = await startServer(t);
  const [mine, theirs] = [build(t, server), build(t, server)];
  const first = await mine.begin("good", "input");
  mine.end("good").resolve("done");
  await first.ended();
  const second = await mine.begin("bad", "input");
  await until("it runs", () => mine.runs.length === 2);
  mine.end("bad").reject(new Error("no more tries"));
  await assert.rejects(second.ended(), /no more tries/);
  for (const { begin } of [mine, theirs]) {
    const finished = await begin("good", "input");
    assert.equal(finished.outcome, "finished");
    assert.equal(await finished.ended(), "done");
    const failed = await begin("bad", "input");
    assert.equal(failed.outcome, "failed");
    assert.ok(failed.error instanceof Error && failed.error.message === "no more tries");
    await assert.rejects(failed.ended(), /no more tries/);
  }
  assert.deepEqual([mine.runs.length, theirs.runs], [2, []]);
});

test("taken: an id of another job, another topic or no execution at all, whether it has ended or not", async (t) => {
  const server = await startServer(t);
  const [orders, deletion, elsewhere] = ["orders:topic", "deletion:topic", "orders:other"].map((name) =>
    build(t, server, name),
  );
  assert.ok(orders && deletion && elsewhere);
  await deletion.begin("of-job", "input");
  await elsewhere.begin("of-topic", "input");
  const ended = await deletion.begin("ended", "input");
  deletion.end("ended").resolve("done");
  await ended.ended();
  await orders.resonate.promises.create("no-call", Date.now() + 60_000, {
    tags: { "resonate:target": "poll://any@nobody" },
  });
  await orders.resonate.promises.create("no-address", Date.now() + 60_000);
  for (const [id, service] of [
    ["of-job", "deletion:topic"],
    ["of-topic", "orders:other"],
    ["ended", "deletion:topic"],
    ["no-call", undefined],
    ["no-address", undefined],
  ] as const) {
    const begun = await orders.begin(id, "input");
    assert.deepEqual([begun.outcome, begun.service], ["taken", service], id);
  }
  assert.deepEqual(orders.runs, []);
});

test("two messages of one id at the same moment are both told what they found", async (t) => {
  const server = await startServer(t);
  const [orders, deletion] = [build(t, server), build(t, server, "deletion:topic")];
  await deletion.begin("taken", "input");
  const outcomesOf = async (id: string) => {
    const begun = await Promise.all([1, 2, 3].map(() => orders.begin(id, "input")));
    return begun.map(({ outcome }) => outcome);
  };
  for (let round = 0; round < 5; round++) {
    assert.deepEqual(await outcomesOf("taken"), ["taken", "taken", "taken"]);
    assert.deepEqual((await outcomesOf(`new-${round}`)).sort(), ["running", "running", "started"]);
  }
});

/** Starts that go as `beginRun` says. */
const beginWith = (beginRun: () => Promise<{ result(): Promise<unknown> }>, assertFit = async () => {}) =>
  createBegin({ name: "orders:topic", beginRun, assertFit }).begin;

test("a start that fails for now is told as it failed, and leaves the next one free", async () => {
  const failure = new Error("server gone");
  let failures = 1;
  const begin = beginWith(async () => {
    if (failures-- > 0) throw failure;
    return { result: async () => "done" };
  });
  await assert.rejects(begin("x", "input"), (error) => error === failure);
  assert.equal((await begin("x", "input")).outcome, "started");
});

/** An error of the SDK: with the status the server gave, or of its own. */
const sdkError = (code?: number) =>
  Object.assign(new Error("words"), {
    name: "ResonateError",
    ...(code === undefined ? {} : { serverError: { code, message: "words" } }),
  });

test("what the server or the SDK will never start is refused, and not to be tried again", async () => {
  for (const thrown of [sdkError(400), sdkError(413), sdkError()]) {
    const begin = beginWith(() => Promise.reject(thrown));
    await assert.rejects(begin("x", "input"), (error) => {
      assert.ok(error instanceof RefusedError, `expected a refusal, got ${error}`);
      assert.equal(error.canRetry, false);
      assert.match(error.message, /words/);
      return true;
    });
  }
});

test("what a token, time or another worker may change is no refusal", async () => {
  for (const code of [401, 403, 404, 408, 409, 429, 500, 503]) {
    const thrown = sdkError(code);
    const begin = beginWith(() => Promise.reject(thrown));
    await assert.rejects(begin("x", "input"), (error) => error === thrown);
  }
});

test("where the server does not take what every worker asks, the message is not at fault", async () => {
  const unfit = new Error("use server 0.9.8");
  const begin = beginWith(
    () => Promise.reject(sdkError(400)),
    () => Promise.reject(unfit),
  );
  await assert.rejects(begin("x", "input"), (error) => error === unfit);
});
