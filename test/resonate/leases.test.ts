import assert from "node:assert/strict";
import { suite, test } from "node:test";
import { setTimeout } from "node:timers/promises";
import { type Context, Never, type Request } from "@resonatehq/sdk";
import { startResonateProxy } from "../../src/demo/resonate-proxy.ts";
import { sleep } from "../../src/resonate/sleep.ts";
import { settle, until } from "../helpers/unit-time.ts";
import { type LeasedWorker, startLeased, startServer, type TracedServer } from "../helpers/unit-worker.ts";

/** Requests of a kind, as far as the server has answered them. */
const requestsOf = <K extends Request["kind"]>({ exchanges }: TracedServer, kind: K) =>
  exchanges
    .map(([request]) => request)
    .filter((request): request is Extract<Request, { kind: K }> => request.kind === kind);

/** Registers a workflow of two steps, whose ends are in the hands of the test. */
const registerTwoSteps = (worker: LeasedWorker) => {
  const started: string[] = [];
  const ends = { first: Promise.withResolvers<string>(), second: Promise.withResolvers<string>() };
  const first = async (_ctx: Context) => {
    started.push("first");
    return ends.first.promise;
  };
  const second = async (_ctx: Context) => {
    started.push("second");
    return ends.second.promise;
  };
  const workflow = worker.resonate.register(function* twoSteps(
    ctx: Context,
  ): Generator<unknown, string, unknown> {
    const one = yield* ctx.run(first);
    const two = yield* ctx.run(second);
    return `${one}, ${two}`;
  });
  return { workflow, started, ends };
};

// Each has a server of its own, and most of their time they wait.
suite("leases", { concurrency: true }, () => {
  test("leases are kept through steps that outlast them, whichever way the execution came", async (t) => {
    const server = await startServer(t);
    const [worker, other] = [
      await startLeased(t, server, { ttl: 600 }),
      await startLeased(t, server, { ttl: 600 }),
    ];
    const runs: string[] = [];
    const slow = async (ctx: Context) => {
      runs.push(ctx.id);
      await setTimeout(2500);
      return "done";
    };
    const [here] = [worker, other].map(({ resonate }) => resonate.register("slow", slow));
    assert.ok(here);
    const target = worker.network.anycast;
    const results = Promise.all([
      here.run("begun-1"),
      here.run("begun-2"),
      here.rpc("sent-1", worker.resonate.options({ target })),
      here.rpc("sent-2", worker.resonate.options({ target })),
    ]);
    await until("all have begun", () => runs.length === 4);
    assert.equal(worker.network.held, 4);
    assert.deepEqual(await results, ["done", "done", "done", "done"]);
    assert.deepEqual(runs.sort(), ["begun-1", "begun-2", "sent-1", "sent-2"], "each ran once");
    await until("all leases are given up", () => worker.network.held + other.network.held === 0);

    const beats = requestsOf(server, "task.heartbeat").map(({ data }) => data.tasks.map(({ id }) => id));
    for (const id of runs) {
      const count = beats.filter((ids) => ids.includes(id)).length;
      assert.ok(count >= 5, `${count} heartbeats for ${id}`);
    }
    for (const ids of beats) assert.ok(ids.length <= 1, `one heartbeat for ${ids}, of several records`);
  });

  test("heartbeats end with the execution", async (t) => {
    const server = await startServer(t);
    const worker = await startLeased(t, server, { ttl: 300 });
    const renewed = () =>
      requestsOf(server, "task.heartbeat").flatMap(({ data }) => data.tasks.map(({ id }) => id));
    const ends = new Map(["x", "y"].map((id) => [id, Promise.withResolvers<void>()]));
    const step = worker.resonate.register("step", async (ctx: Context) => ends.get(ctx.id)?.promise);
    await step.beginRun("x");
    await step.beginRun("y");
    await until("both are renewed in turn", () => new Set(renewed().slice(-2)).size === 2);
    ends.get("x")?.resolve();
    await until("only the other is", () => new Set(renewed().slice(-6)).size === 1);
    assert.equal(renewed().at(-1), "y");
    ends.get("y")?.resolve();
  });

  test("a lease is held while an execution runs, and not while it sleeps or when it has ended", async (t) => {
    const server = await startServer(t);
    const worker = await startLeased(t, server);
    const held = () => worker.network.held;
    const gates = Array.from({ length: 2 }, () => Promise.withResolvers<void>());
    let entered = 0;
    const step = async (_ctx: Context) => {
      entered += 1;
      await gates[entered - 1]?.promise;
    };
    const workflow = worker.resonate.register(function* sleeper(
      ctx: Context,
    ): Generator<unknown, string, unknown> {
      yield* ctx.run(step);
      // As a sleep does, but its end is in the hands of the test.
      yield* yield* ctx.promise<void>();
      yield* ctx.run(step);
      return "done";
    });
    const handle = await workflow.beginRun("x");
    await until("the first step runs", () => entered === 1);
    assert.equal(held(), 1);
    gates[0]?.resolve();
    await until("it sleeps", () => held() === 0);
    assert.deepEqual(worker.ended, []);
    await worker.resonate.promises.resolve("x:1");
    await until("the second step runs", () => entered === 2);
    assert.equal(held(), 1);
    gates[1]?.resolve();
    assert.equal(await handle.result(), "done");
    await until("it has ended", () => held() === 0);
    assert.deepEqual(worker.ended, ["x"]);
  });

  test("one that fails is held no longer, and has ended", async (t) => {
    const server = await startServer(t);
    const worker = await startLeased(t, server);
    const failing = worker.resonate.register("failing", async (_ctx: Context) => {
      throw new Error("failed");
    });
    await assert.rejects(failing.run("x", worker.resonate.options({ retryPolicy: new Never() })), /failed/);
    await until("it is given up", () => worker.network.held === 0);
    assert.deepEqual(worker.ended, ["x"]);
  });

  test("one that has ended before is told to have ended when it is begun again, and runs no more", async (t) => {
    const server = await startServer(t);
    const [worker, other] = [await startLeased(t, server), await startLeased(t, server)];
    let runs = 0;
    const quick = async (_ctx: Context) => {
      runs += 1;
    };
    await other.resonate.register("quick", quick).run("x");
    const handle = await worker.resonate.register("quick", quick).beginRun("x");
    assert.equal(await handle.done(), true);
    assert.deepEqual([runs, worker.ended, worker.network.held], [1, ["x"], 0]);
  });

  test("one that runs elsewhere is neither held here nor ended", async (t) => {
    const server = await startServer(t);
    const [worker, other] = [await startLeased(t, server), await startLeased(t, server)];
    const { workflow, started } = registerTwoSteps(other);
    await workflow.beginRun("x");
    await until("it runs", () => started.length === 1);
    await registerTwoSteps(worker).workflow.beginRun("x");
    assert.deepEqual([worker.network.held, worker.ended], [0, []]);
    assert.equal(other.network.held, 1);
  });

  test("a worker of the group in which timers are sent holds none of them", async (t) => {
    const server = await startServer(t);
    const worker = await startLeased(t, server, { group: "timers" });
    const workflow = worker.resonate.register(function* sleeper(
      ctx: Context,
    ): Generator<unknown, string, unknown> {
      yield* sleep(ctx, 1500);
      return "done";
    });
    const handle = await workflow.beginRun("x");
    await until("it sleeps", () => requestsOf(server, "task.suspend").length === 1);
    await until("the timer was sent", () => requestsOf(server, "task.acquire").length === 1);
    await settle();
    assert.equal(worker.network.held, 0);
    assert.equal(await handle.result(), "done");
    await until("it has ended", () => worker.ended.includes("x"));
    assert.equal(worker.network.held, 0);
  });

  test("the more executions are being begun, the fewer requests for steps are under way", async (t) => {
    const server = await startServer(t);
    const proxy = await startResonateProxy(server.url);
    t.after(() => proxy[Symbol.asyncDispose]());
    const worker = await startLeased(t, proxy);
    const begin = registerTwoSteps(worker).workflow.beginRun;
    const answered = Promise.withResolvers<void>();
    let beginning = 0;
    const asked: PromiseWithResolvers<void>[] = [];
    proxy.onRequest = async (request) => {
      if (request.kind === "task.create" && request.data.action.data.id.startsWith("late")) {
        beginning += 1;
        await answered.promise;
      }
      if (request.kind === "task.fence" && request.data.action.kind === "promise.create") {
        const step = Promise.withResolvers<void>();
        asked.push(step);
        await step.promise;
      }
    };

    const late = Promise.all(Array.from({ length: 31 }, (_, i) => begin(`late-${i}`)));
    await until("31 are being begun", () => beginning === 31);
    await Promise.all(Array.from({ length: 10 }, (_, i) => begin(`early-${i}`)));
    await until("a step is asked for", () => asked.length > 0);
    asked[0]?.resolve();
    await until("the next one is", () => asked.length > 1);
    await settle();
    assert.equal(asked.length, 2, "one after the other");

    answered.resolve();
    await late;
    asked[1]?.resolve();
    await until("many are", () => asked.length === 2 + 32);
    await settle();
    assert.equal(asked.length, 2 + 32, "32 at once");
    for (let i = 2; i < 41; i++) {
      await until("all are in turn", () => asked.length > i);
      asked[i]?.resolve();
    }
  });

  test("drain lets a step end and refuses the next; another worker goes on within a second", async (t) => {
    const server = await startServer(t);
    const [worker, other] = [await startLeased(t, server), await startLeased(t, server)];
    const mine = registerTwoSteps(worker);
    const theirs = registerTwoSteps(other);
    await mine.workflow.beginRun("x");
    await until("the first step runs", () => mine.started.length === 1);

    let drained = false;
    const draining = worker.network.drain(60_000).then(() => {
      drained = true;
    });
    for (let requests = 0; requests < 5; requests++) await other.resonate.get("x");
    assert.deepEqual([drained, theirs.started], [false, []], "the step may end");
    mine.ends.first.resolve("one");
    await draining;
    assert.equal(worker.network.held, 0);
    await until("the second step runs on the other worker", () => theirs.started.length === 1, 1000);
    assert.deepEqual([mine.started, theirs.started], [["first"], ["second"]]);
    theirs.ends.second.resolve("two");
    await until("it has ended", () => other.ended.includes("x"));
    assert.equal(await (await theirs.workflow.beginRun("x")).result(), "one, two");
  });

  test("a step that does not end in time is handed over: it runs again elsewhere within a second", async (t) => {
    const server = await startServer(t);
    const [worker, other] = [await startLeased(t, server), await startLeased(t, server)];
    const mine = registerTwoSteps(worker);
    const theirs = registerTwoSteps(other);
    for (const id of ["x", "y", "z"]) await mine.workflow.beginRun(id);
    await until("the first steps run", () => mine.started.length === 3);
    await worker.network.drain(100);
    assert.equal(worker.network.held, 0);
    await until("they run on the other worker", () => theirs.started.length === 3, 1000);

    // What the old worker still does must not count.
    mine.ends.first.resolve("stale");
    theirs.ends.first.resolve("one");
    theirs.ends.second.resolve("two");
    await until("all have ended", () => other.ended.length === 3);
    assert.equal(await (await theirs.workflow.beginRun("x")).result(), "one, two");
    assert.ok(!mine.started.includes("second"));
  });

  test("without any grace it is handed over at once, too", async (t) => {
    const server = await startServer(t);
    const other = await startLeased(t, server);
    const theirs = registerTwoSteps(other);
    for (let round = 1; round <= 10; round++) {
      const worker = await startLeased(t, server);
      const mine = registerTwoSteps(worker);
      await mine.workflow.beginRun(`x-${round}`);
      await until("the first step runs", () => mine.started.length === 1);
      await worker.network.drain(0);
      await until(`the other worker has taken ${round}`, () => theirs.started.length === round, 1000);
    }
  });

  test("a worker that holds nothing is drained at once", async (t) => {
    const server = await startServer(t);
    const worker = await startLeased(t, server);
    const before = performance.now();
    await worker.network.drain(60_000);
    assert.ok(performance.now() - before < 1000);
  });

  test("leases that cannot be given back, since the server is gone, are held no longer", async (t) => {
    const server = await startServer(t);
    const worker = await startLeased(t, server);
    const { workflow, started } = registerTwoSteps(worker);
    await workflow.beginRun("x");
    await until("the first step runs", () => started.length === 1);
    await server.server.stop();
    await worker.network.drain(0);
    assert.equal(worker.network.held, 0);
  });

  test("an execution that loses the server at a checkpoint is held no longer", async (t) => {
    const server = await startServer(t);
    const worker = await startLeased(t, server);
    const { workflow, started, ends } = registerTwoSteps(worker);
    await workflow.beginRun("x");
    await until("the first step runs", () => started.length === 1);
    await server.server.stop();
    ends.first.resolve("one");
    await until("it is held no longer", () => worker.network.held === 0);
  });

  test("a worker that lost its connection before it was drained does not connect again", async (t) => {
    const server = await startServer(t);
    const worker = await startLeased(t, server);
    const sender = await startLeased(t, server, { group: "senders" });
    let runs = 0;
    worker.resonate.register("quick", async (_ctx: Context) => {
      runs += 1;
    });
    server.server.dropConnections();
    await until("the loss is noticed", () => worker.losses === 1 && sender.losses === 1);
    await worker.network.drain(0);
    // Another that lost its connection at the same time is back.
    await sender.reached();
    const { resonate, network } = sender;
    resonate.register("reply", async (_ctx: Context) => "reply");
    await resonate.beginRpc("x", "quick", resonate.options({ target: worker.network.anycast }));
    assert.equal(await resonate.rpc("y", "reply", resonate.options({ target: network.anycast })), "reply");
    const acquired = requestsOf(server, "task.acquire").map(({ data }) => data.id);
    assert.deepEqual([runs, acquired], [0, ["y"]]);
  });
});
