import assert from "node:assert/strict";
import { suite, test } from "node:test";
import type { Context } from "@resonatehq/sdk";
import { until } from "../helpers/unit-time.ts";
import { registerTwoSteps, requestsOf, startLeased, startServer } from "../helpers/unit-worker.ts";

// Each has a server of its own, and most of their time they wait.
suite("hand-over", { concurrency: true }, () => {
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
    assert.equal(worker.held, 0);
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
    assert.equal(worker.held, 0);
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

  test("an execution that is handed back twice at once goes back once", async (t) => {
    const server = await startServer(t);
    const worker = await startLeased(t, server);
    const mine = registerTwoSteps(worker);
    await mine.workflow.beginRun("x");
    await until("the first step runs", () => mine.started.length === 1);
    await Promise.all([worker.network.handBack("x"), worker.network.handBack("x")]);
    assert.equal(requestsOf(server, "task.release").length, 1);
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
    assert.equal(worker.held, 0);
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
