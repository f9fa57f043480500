import assert from "node:assert/strict";
import { suite, test } from "node:test";
import { setTimeout } from "node:timers/promises";
import { type Context, Never } from "@resonatehq/sdk";
import { sleep } from "../../src/resonate/sleep.ts";
import { settle, until } from "../helpers/unit-time.ts";
import { registerTwoSteps, requestsOf, startLeased, startServer } from "../helpers/unit-worker.ts";

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
    assert.equal(worker.held + other.held, 4);
    assert.deepEqual(await results, ["done", "done", "done", "done"]);
    assert.deepEqual(runs.sort(), ["begun-1", "begun-2", "sent-1", "sent-2"], "each ran once");
    await until("all leases are given up", () => [worker, other].every(({ held }) => held === 0));

    const beats = requestsOf(server, "task.heartbeat").map(({ data }) => data.tasks.map(({ id }) => id));
    for (const id of runs) {
      const count = beats.filter((ids) => ids.includes(id)).length;
      assert.ok(count >= 5, `${count} heartbeats for ${id}`);
    }
    assert.ok(
      beats.some((ids) => ids.length > 1),
      "one heartbeat renews all leases of a worker",
    );
  });

  test("heartbeats end with the execution", async (t) => {
    const server = await startServer(t);
    const worker = await startLeased(t, server, { ttl: 300 });
    const renewed = () =>
      requestsOf(server, "task.heartbeat").map(({ data }) => data.tasks.map(({ id }) => id));
    const ends = new Map(["x", "y"].map((id) => [id, Promise.withResolvers<void>()]));
    const step = worker.resonate.register("step", async (ctx: Context) => ends.get(ctx.id)?.promise);
    await step.beginRun("x");
    await step.beginRun("y");
    await until("both are renewed", () => renewed().at(-1)?.length === 2);
    ends.get("x")?.resolve();
    await until("only the other is", () =>
      renewed()
        .slice(-3)
        .every((ids) => ids.join() === "y"),
    );
    ends.get("y")?.resolve();
  });

  test("a lease is held while an execution runs, and not while it sleeps or when it has ended", async (t) => {
    const server = await startServer(t);
    const worker = await startLeased(t, server);
    const held = () => worker.held;
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
    await until("it is given up", () => worker.held === 0);
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
    assert.deepEqual([runs, worker.ended, worker.held], [1, ["x"], 0]);
  });

  test("one that runs elsewhere is neither held here nor ended", async (t) => {
    const server = await startServer(t);
    const [worker, other] = [await startLeased(t, server), await startLeased(t, server)];
    const { workflow, started } = registerTwoSteps(other);
    await workflow.beginRun("x");
    await until("it runs", () => started.length === 1);
    await registerTwoSteps(worker).workflow.beginRun("x");
    assert.deepEqual([worker.held, worker.ended], [0, []]);
    assert.equal(other.held, 1);
  });

  test("a worker of the group in which timers are sent holds none of them", async (t) => {
    const server = await startServer(t);
    const worker = await startLeased(t, server, { group: "timers" });
    const workflow = worker.resonate.register(function* sleeper(
      ctx: Context,
    ): Generator<unknown, string, unknown> {
      yield* sleep(ctx, 1500).wait();
      return "done";
    });
    const handle = await workflow.beginRun("x");
    await until("it sleeps", () => requestsOf(server, "task.suspend").length === 1);
    await until("the timer was sent", () => requestsOf(server, "task.acquire").length === 1);
    await settle();
    assert.equal(worker.held, 0);
    assert.equal(await handle.result(), "done");
    await until("it has ended", () => worker.ended.includes("x"));
    assert.equal(worker.held, 0);
  });

  test("an execution that loses the server at a checkpoint is held no longer", async (t) => {
    const server = await startServer(t);
    const worker = await startLeased(t, server);
    const { workflow, started, ends } = registerTwoSteps(worker);
    await workflow.beginRun("x");
    await until("the first step runs", () => started.length === 1);
    await server.server.stop();
    ends.first.resolve("one");
    await until("it is held no longer", () => worker.held === 0);
  });
});
