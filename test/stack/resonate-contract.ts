import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { setTimeout } from "node:timers/promises";
import { eventually, randomName } from "./contract.ts";
import { branchOf, connect, GLOBAL, granted, promiseCreate, promiseSettle } from "./resonate-client.ts";

/** A real server looks for leases and timers that have ended once a second, and sends messages every 100 ms. */
const SCAN_MS = 1000;

export interface Contract {
  /** Gives the URL of what is tested. */
  readonly start: (t: TestContext) => Promise<string> | string;
  /** Whether what is released goes back to its owner while that is connected. */
  readonly prefersOwner: boolean;
}

/** What the worker relies on where the executions are. Where a copy and the real server differ, the real one is right. */
export const testContract = ({ start, prefersOwner }: Contract): void => {
  /** Two workers of a group, and an id for an execution. */
  const build = async (t: TestContext) => {
    const url = await start(t);
    const group = randomName("group");
    const [a, b] = await Promise.all([connect(t, url, group), connect(t, url, group)]);
    return { url, a, b, id: randomName("record") };
  };

  test("an id is begun once: by another it is refused, and once ended it is found with its result", async (t) => {
    const { a, b, id } = await build(t);
    const { task, promise } = granted(await a.begin(id));
    assert.deepEqual([task?.state, task?.version, promise.state], ["acquired", 1, "pending"]);
    assert.equal((await b.begin(id)).head.status, 409);
    assert.equal((await a.begin(id)).head.status, 409, "by the same worker, too");

    granted(await a.fulfill(id, 1, "done"));
    const again = granted(await b.begin(id));
    assert.deepEqual([again.task?.state, again.promise.state], ["fulfilled", "resolved"]);
    assert.equal(atob(again.promise.value.data), '"done"');
  });

  test("a checkpoint stays as it was first written", async (t) => {
    const { a, id } = await build(t);
    granted(await a.begin(id));
    const create = promiseCreate(`${id}:1`, { tags: branchOf(id) });
    const first = granted(await a.fence(id, 1, create));
    assert.equal(first.action.kind, "promise.create");
    granted(await a.fence(id, 1, create));
    granted(await a.fence(id, 1, promiseSettle(`${id}:1`, "first")));
    await a.fence(id, 1, promiseSettle(`${id}:1`, "second"));
    const { promise } = granted(await a.get(`${id}:1`));
    assert.deepEqual([promise.state, atob(promise.value.data)], ["resolved", '"first"']);
  });

  test("a lease that ends unrenewed goes to another worker, with the steps so far, and its holder is refused", async (t) => {
    const { a, b, id } = await build(t);
    granted(await a.begin(id, { ttl: 500 }));
    granted(await a.fence(id, 1, promiseCreate(`${id}:1`, { tags: branchOf(id) })));
    granted(await a.fence(id, 1, promiseSettle(`${id}:1`, "one")));
    granted(await a.fence(id, 1, promiseCreate(`${id}:2`, { tags: branchOf(id) })));
    await a.leave();
    await eventually("it is sent to the other", () => b.sent(id).length > 0, 500 + 4 * SCAN_MS);
    const [version = 0] = b.sent(id);
    const { task, preload } = granted(await b.acquire(id, version));
    assert.equal(task.version, version + 1);
    assert.deepEqual(preload.map((step) => [step.id, step.state]).sort(), [
      [`${id}:1`, "resolved"],
      [`${id}:2`, "pending"],
    ]);

    const refused = [
      await a.fence(id, 1, promiseSettle(`${id}:2`, "late")),
      await a.fence(id, 1, promiseCreate(`${id}:3`, { tags: branchOf(id) })),
      await a.release(id, 1),
      await a.fulfill(id, 1, "late"),
      await b.acquire(id, version),
    ];
    assert.deepEqual(
      refused.map(({ head }) => head.status),
      [409, 409, 409, 409, 409],
    );
    assert.equal(granted(await b.get(`${id}:2`)).promise.state, "pending");
    assert.equal((await b.get(`${id}:3`)).head.status, 404);
  });

  test("a lease lasts as long as it is renewed", async (t) => {
    const { a, b, id } = await build(t);
    const ttl = 1500;
    granted(await a.begin(id, { ttl }));
    await a.leave();
    const end = Date.now() + 3 * ttl;
    while (Date.now() < end) {
      granted(await a.beat(id, 1));
      await setTimeout(ttl / 5);
    }
    assert.deepEqual(b.sent(id), []);
    granted(await a.fence(id, 1, promiseCreate(`${id}:1`, { tags: branchOf(id) })));
    await eventually("without renewal it ends", () => b.sent(id).length > 0, ttl + 4 * SCAN_MS);
  });

  test("what is released is sent at once: to its owner while that is connected, else to another", async (t) => {
    if (!prefersOwner) return t.skip("sent to any worker of the group");
    const { a, b, id } = await build(t);
    granted(await a.begin(id));
    let version = 1;
    for (let round = 1; round <= 3; round++) {
      granted(await a.release(id, version));
      await eventually("it comes back", () => a.sent(id).length === round, SCAN_MS);
      ({ version } = granted(await a.acquire(id, a.sent(id).at(-1) ?? 0)).task);
    }
    assert.deepEqual(b.sent(id), []);

    await a.leave();
    // A server learns a moment later that a connection is closed.
    await setTimeout(250);
    granted(await a.release(id, version));
    await eventually("it goes to the other", () => b.sent(id).length === 1, SCAN_MS);
  });

  test("one that waits goes on when what it awaits is settled, and at once when that is so already", async (t) => {
    const { a, b, id } = await build(t);
    granted(await a.begin(id));
    await b.leave();
    const [first, second] = [`${id}:1`, `${id}:2`];
    for (const awaited of [first, second]) {
      granted(await a.fence(id, 1, promiseCreate(awaited, { tags: { ...branchOf(id), ...GLOBAL } })));
    }
    assert.equal((await a.suspend(id, 1, [first])).head.status, 200);
    granted(await b.settle(promiseSettle(first, "from elsewhere")));
    await eventually("it is sent to its owner", () => a.sent(id).length === 1, SCAN_MS);
    const { task, preload } = granted(await a.acquire(id, a.sent(id)[0] ?? 0));
    assert.deepEqual(
      preload.filter((step) => step.state === "resolved").map((step) => step.id),
      [first],
    );

    granted(await b.settle(promiseSettle(second, "meanwhile")));
    const suspended = await a.suspend(id, task.version, [second]);
    assert.equal(suspended.head.status, 300);
    assert.equal(a.sent(id).length, 1);
    granted(await a.fulfill(id, task.version, "done"));
  });

  test("a timer that its execution awaits ends by itself, and wakes it; another promise times out", async (t) => {
    const { a, b, id } = await build(t);
    await b.leave();
    granted(await a.begin(id));
    const timer = promiseCreate(`${id}:1`, {
      tags: { ...branchOf(id), "resonate:timer": "true", "resonate:target": "poll://any@timers" },
      timeoutAt: Date.now() + 300,
    });
    const other = promiseCreate(`${id}:2`, { tags: branchOf(id), timeoutAt: Date.now() + 300 });
    granted(await a.fence(id, 1, timer));
    granted(await a.fence(id, 1, other));
    assert.equal((await a.suspend(id, 1, [`${id}:1`])).head.status, 200);
    await eventually("it is woken", () => a.sent(id).length === 1, 300 + 4 * SCAN_MS);
    assert.equal(granted(await a.get(`${id}:1`)).promise.state, "resolved");
    assert.equal(granted(await a.get(`${id}:2`)).promise.state, "rejected_timedout");
  });

  test("who asks is told of an end: at once when it has come already, else by a message", async (t) => {
    const { a, b, id } = await build(t);
    granted(await a.begin(id));
    assert.equal(granted(await b.listen(id)).promise.state, "pending");
    granted(await a.fulfill(id, 1, "done"));
    await eventually("the message comes", () => b.messages.length === 1, 2 * SCAN_MS);
    const [message] = b.messages;
    assert.ok(message?.kind === "unblock");
    assert.deepEqual([message.data.promise.id, message.data.promise.state], [id, "resolved"]);
    assert.equal(granted(await b.listen(id)).promise.state, "resolved");
    assert.deepEqual(a.messages, []);
  });

  test("an execution for a group is sent to one of its workers", async (t) => {
    const { url, id } = await build(t);
    const group = randomName("group");
    const workers = await Promise.all([connect(t, url, group), connect(t, url, group)]);
    const tags = { ...branchOf(id), ...GLOBAL, "resonate:target": `poll://any@${group}` };
    granted(await workers[0].create(promiseCreate(id, { tags })));
    const versions = () => workers.flatMap((worker) => worker.sent(id));
    await eventually("it is sent", () => versions().length > 0, 2 * SCAN_MS);
    await setTimeout(2 * SCAN_MS);
    assert.equal(versions().length, 1);
  });

  test("ids as record ids may be are kept apart and come back as they were", async (t) => {
    const { a, id } = await build(t);
    const ids = ["ü", " ", "/", "%2F", "\u001f1", "😀", "..", "x".repeat(500)].map((end) => `${id}${end}`);
    for (const one of ids) {
      const { promise } = granted(await a.begin(one));
      assert.equal(promise.id, one);
    }
    for (const one of ids) assert.equal((await a.begin(one)).head.status, 409);
  });
};
