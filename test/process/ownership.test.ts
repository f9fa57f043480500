import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { suite, type TestContext, test } from "node:test";
import { spawnWorker } from "../../src/demo/worker-process.ts";
import { requestHead } from "../../src/resonate/request.ts";
import { HEADERS } from "../../src/worker/dead-letter.ts";
import { ask } from "../helpers/ask.ts";
import { type DeletionScene, setScene } from "../helpers/deletion-scene.ts";
import { dispatchesOf } from "../helpers/dispatches.ts";
import { follow } from "../helpers/protocol.ts";
import { type Env, linesWith, type Scene, until, within } from "../helpers/scene.ts";

const RECORDS = 5;
const BATCHES = 2;

/** Another service at the broker and server of `scene`: the same job, with topics, groups and rows of its own. */
const setNeighbour = (t: TestContext, { env }: Scene, overrides: Env = {}): Promise<DeletionScene> =>
  setScene(t, {
    KAFKA_BROKERS: env.KAFKA_BROKERS ?? "",
    RESONATE_URL: env.RESONATE_URL ?? "",
    ...overrides,
  });

const seedAll = (scene: DeletionScene, ids: readonly string[]) =>
  Promise.all(ids.map((recordId) => scene.seed({ batches: BATCHES, recordId })));

const assertAllDone = async (scene: DeletionScene, ids: readonly string[]) => {
  for (const id of ids) {
    assert.equal(scene.completionsOf(id).length, 1, `completions of ${id}`);
    assert.deepEqual(
      (await scene.entriesOf(id)).map(({ batch, repeats }) => [batch, repeats]),
      Array.from({ length: BATCHES }, (_, batch) => [batch, 0]),
    );
  }
  assert.equal(await scene.records.countRows(), 0);
};

/** Makes a promise as another program would; gives back the status of the answer. */
const createPromise = (scene: Scene, id: string, target?: string): Promise<number> => {
  const tags = { "resonate:origin": id, "resonate:branch": id, "resonate:parent": id };
  const call = Buffer.from(JSON.stringify({ func: "foo", args: [], version: 1 })).toString("base64");
  const data = {
    id,
    timeoutAt: Date.now() + 600_000,
    param: { headers: {}, data: call },
    tags: target === undefined ? tags : { ...tags, "resonate:target": target },
  };
  return ask(scene, { kind: "promise.create", head: requestHead(), data });
};

/** The promise ids under which dispatches asked for executions, each once, in order. */
const watchBegun = ({ proxy }: Scene): ReadonlySet<string> => {
  const begun = new Set<string>();
  follow(proxy, {
    after: ({ request }, status) => {
      if (request.kind === "task.create" && status === 200) begun.add(request.data.action.data.id);
    },
  });
  return begun;
};

suite("ownership", { concurrency: 3, timeout: 180_000 }, () => {
  test("mode 23: two services on one server with the same record ids: each completes its own", async (t) => {
    const first = await setScene(t);
    const second = await setNeighbour(t, first);
    const begun = watchBegun(first);
    await Promise.all([first.startWorker(), second.startWorker()]);
    const ids = Array.from({ length: RECORDS }, () => `record-${randomUUID()}`);
    await seedAll(first, ids);
    await until("the first service's executions", () => ids.every((id) => begun.has(id)));
    await seedAll(second, ids);
    await until("all completions of both", () =>
      [first, second].every((scene) => ids.every((id) => scene.completionsOf(id).length > 0)),
    );
    await assertAllDone(first, ids);
    await assertAllDone(second, ids);
    for (const id of ids) {
      const own = [...begun].filter((promiseId) => promiseId === id || promiseId.startsWith(`${id}\u001f`));
      assert.equal(own.length, 2, own.join());
      assert.equal(own[0], id, "the record id is the promise id of who had it first");
    }
    assert.equal(first.deadLetters.length + second.deadLetters.length, 0);
  });

  test("mode 23: a message of the second service that comes again finds its own execution", async (t) => {
    const first = await setScene(t);
    const second = await setNeighbour(t, first);
    await first.startWorker();
    const worker = await second.startWorker();
    const id = await first.seed({ batches: BATCHES });
    await until("the first service's completion", () => first.completionsOf(id).length > 0);
    await seedAll(second, [id]);
    await until("the second service's completion", () => second.completionsOf(id).length > 0);
    await second.produce({ key: id, value: id });
    await until("the second message", () => dispatchesOf(worker, id).length === 2);
    assert.deepEqual(
      dispatchesOf(worker, id).map(({ outcome }) => outcome),
      ["kicked off", "finished before"],
    );
    await assertAllDone(second, [id]);
  });

  test("mode 24: a second service with the same worker group is refused at its start, with the setting to change", async (t) => {
    const first = await setScene(t);
    await first.startWorker();
    const second = await setNeighbour(t, first, { RESONATE_GROUP: first.env.RESONATE_GROUP ?? "" });
    await using refused = spawnWorker(second.env, { cwd: second.folder });
    assert.equal(await within("the end of the second service's worker", refused.exited), 1);
    const last = refused.lines.at(-1) ?? "";
    assert.match(last, /^RESONATE_GROUP: /);
    assert.ok(last.includes(`deletion:${first.settings.TOPIC_SOURCE}`), `whose group it is: ${last}`);

    const ids = await Promise.all([first.seed({ batches: BATCHES }), first.seed({ batches: BATCHES })]);
    await until("the first service's completions", () =>
      ids.every((id) => first.completionsOf(id).length > 0),
    );
    await assertAllDone(first, ids);
    // What was refused was the sharing: with a group of its own the second service works.
    await second.startWorker({ RESONATE_GROUP: `own-${randomUUID().slice(0, 8)}` });
    const own = await second.seed({ batches: BATCHES });
    await until("the second service's completion", () => second.completionsOf(own).length > 0);
    await assertAllDone(second, [own]);
  });

  test("mode 24: an execution of another service that reaches a worker is not run", async (t) => {
    const scene = await setScene(t);
    const worker = await scene.startWorker();
    const stray = `stray-${randomUUID()}`;
    assert.equal(await createPromise(scene, stray, `poll://any@${scene.env.RESONATE_GROUP}`), 200);
    await until(
      "the worker to hand it back",
      () => linesWith(worker, `execution ${stray} cannot go on here`).length > 0,
    );
    const id = await scene.seed({ batches: BATCHES });
    await until("the completion", () => scene.completionsOf(id).length > 0);
    await assertAllDone(scene, [id]);
    assert.equal(scene.completionsOf(stray).length, 0);
  });

  for (const [what, target] of [
    ["that is addressed to somebody", "poll://any@somebody"],
    ["that is addressed to nobody", undefined],
  ] as const) {
    test(`mode 25: a promise ${what} has the record's id: the message is a dead letter, the others go on`, async (t) => {
      const scene = await setScene(t);
      const taken = `taken-${randomUUID()}`;
      assert.equal(await createPromise(scene, taken, target), 200);
      await scene.startWorker();
      await scene.seed({ batches: 1, partition: 0, recordId: taken });
      const id = await scene.seed({ batches: BATCHES, partition: 0 });
      await until("the completion of the one behind it", () => scene.completionsOf(id).length > 0);
      await until("the dead letter", () => scene.deadLetters.length > 0);
      await until("the commit of both", async () => (await scene.committed()) === 2);
      assert.deepEqual(
        scene.deadLetters.map(({ key, value, headers }) => [
          String(key),
          String(value),
          String(headers?.[HEADERS.reason]),
        ]),
        [[taken, JSON.stringify(taken), "id-taken"]],
      );
      assert.equal(await scene.batchesOf(taken), 0, "nothing of it was run");
    });
  }

  test("mode 26: the log tells a record that is started, runs, was finished and had failed apart; one that failed is a dead letter again", async (t) => {
    const scene = await setScene(t, { BATCH_PAUSE_MS: "1500" });
    const worker = await scene.startWorker();
    const id = await scene.seed({ batches: 2, partition: 0 });
    await until("the start", () => dispatchesOf(worker, id).length === 1);
    await scene.produce({ key: id, value: id, partition: 0 });
    await until("the second message", () => dispatchesOf(worker, id).length === 2);
    assert.equal(scene.completionsOf(id).length, 0, "it was still at work");
    await until("the completion", () => scene.completionsOf(id).length > 0);
    await until("its end", () => linesWith(worker, "all rows deleted").length > 0);
    await scene.produce({ key: id, value: id, partition: 0 });
    await until("the third message", () => dispatchesOf(worker, id).length === 3);
    assert.deepEqual(
      dispatchesOf(worker, id).map(({ outcome }) => outcome),
      ["kicked off", "at work already", "finished before"],
    );
    worker.kill("SIGTERM");
    assert.equal(await within("the worker's end", worker.exited), 0);

    await scene.startWorker({ WORKFLOW_TIMEOUT_MS: "1" });
    const failing = await scene.seed({ batches: 3, partition: 1 });
    await until("the dead letter", () => scene.deadLetters.length === 1);
    await until("the commit", async () => (await scene.committed()) === 4);
    await scene.produce({ key: failing, value: `["${failing}"]`, partition: 1 });
    await until("the dead letter of the second message", () => scene.deadLetters.length === 2);
    assert.deepEqual(
      scene.deadLetters.map(({ value, headers }) => [String(value), String(headers?.[HEADERS.reason])]),
      [
        [`"${failing}"`, "execution-failed"],
        [`["${failing}"]`, "execution-failed"],
      ],
    );
    const errors = scene.deadLetters.map(({ headers }) => String(headers?.[HEADERS.error]));
    assert.match(errors[0] ?? "", /^expected .+ to be done by /);
    assert.equal(errors[1], errors[0], "the error is that of the execution");
    assert.equal(scene.completionsOf(failing).length, 0);
  });
});
