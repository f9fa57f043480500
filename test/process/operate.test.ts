import assert from "node:assert/strict";
import { suite, type TestContext, test } from "node:test";
import { spawnWorker } from "../../src/demo/worker-process.ts";
import { job } from "../../src/jobs/deletion/job.ts";
import { cancel } from "../../src/operate/cancel.ts";
import { type Inspection, inspect } from "../../src/operate/inspect.ts";
import { openServer } from "../../src/operate/server.ts";
import type { Status } from "../../src/operate/status.ts";
import { silentLog } from "../../src/support/log.ts";
import { HEADERS } from "../../src/worker/dead-letter.ts";
import { runCommand, runRedrive } from "../helpers/command-process.ts";
import { type DeletionScene, setScene as setDeletionScene } from "../helpers/deletion-scene.ts";
import { follow } from "../helpers/protocol.ts";
import { type Env, linesWith, until } from "../helpers/scene.ts";

/** Longer than any of these tests. */
const LONG_MS = "600000";

interface OperateScene extends DeletionScene {
  /** What the commands do, without a process of their own: to start one takes seconds on a busy machine. */
  inspect(id: string): Promise<Inspection>;
  cancel(id: string): Promise<void>;
}

const setScene = async (t: TestContext, env: Env = {}): Promise<OperateScene> => {
  const scene = await setDeletionScene(t, env);
  const { signal } = t;
  const { send, service } = scene.resources.use(
    await openServer(job, scene.settings, { log: silentLog, signal }),
  );
  return {
    ...scene,
    inspect: (id) => inspect(send, service, id),
    cancel: (id) => cancel(send, service, id, signal),
  };
};

const readStatus = async (scene: DeletionScene, settings = {}): Promise<Status> => {
  const { end, stdout, stderr } = await runCommand("status", scene, { args: ["--json"], settings });
  assert.equal(end, 0, stderr.join("\n"));
  return JSON.parse(stdout.join("\n"));
};

/** Waits for a state of a record that has an execution. */
const untilState = (scene: OperateScene, id: string, isReached: (inspection: Inspection) => boolean) =>
  until(`the state of ${id}`, async () => {
    const inspection = await scene.inspect(id).catch(() => undefined);
    return inspection && isReached(inspection) && inspection;
  });

const cancelRecord = async (scene: DeletionScene, id: string) => {
  const { end, stdout, stderr } = await runCommand("cancel", scene, { args: [id] });
  assert.deepEqual(
    [end, stdout],
    [
      0,
      [
        `record ${id} is cancelled: its message goes to ${scene.settings.TOPIC_DEAD_LETTERS} at its next checkpoint`,
      ],
    ],
    stderr.join("\n"),
  );
};

/** Waits for the dead letter of a cancelled record. */
const untilDead = async ({ deadLetters }: DeletionScene, id: string) => {
  const letter = await until("the dead letter", () => deadLetters.find(({ key }) => String(key) === id));
  assert.equal(String(letter.headers?.[HEADERS.reason]), "cancelled");
};

/** Drives what was cancelled again, and asserts that it is completed: each batch was applied once. */
const assertDrivenAgain = async (scene: OperateScene, id: string, batches: number) => {
  const { stdout } = await runRedrive(scene, { args: ["--reason", "cancelled"] });
  assert.equal(stdout[0], "cancelled: 1");
  await until("the completion", () => scene.completionsOf(id).length > 0);
  assert.equal(await scene.batchesOf(id), batches);
  const { redrives } = await untilState(scene, id, ({ state }) => state === "done");
  assert.equal(redrives, 1);
};

suite("operate", { concurrency: 3 }, () => {
  test("cancel: a record that sleeps ends at once, others go on, and a redrive completes it", async (t) => {
    const scene = await setScene(t, { BATCH_PAUSE_MS: LONG_MS });
    const sleepy = await scene.startWorker();
    const [id, other] = [await scene.seed({ batches: 3 }), await scene.seed({ batches: 2 })];
    await untilState(scene, other, ({ state }) => state === "asleep");
    const asleep = await untilState(scene, id, ({ state }) => state === "asleep");
    assert.deepEqual(
      asleep.steps.map(({ name, state }) => [name, state]),
      [
        ["deleteBatch", "done"],
        ["sleep", "asleep"],
      ],
    );
    assert.equal(asleep.steps[0]?.worker, await sleepy.ready);
    await cancelRecord(scene, id);
    await untilDead(scene, id);
    const { state, error } = await untilState(scene, id, ({ endedAt }) => endedAt !== undefined);
    assert.deepEqual([state, error, await scene.batchesOf(id)], ["cancelled", "cancelled", 1]);
    const again = await runCommand("cancel", scene, { args: [id] });
    assert.deepEqual([again.end, again.stderr.length], [1, 1]);
    assert.match(again.stderr[0] ?? "", /is cancelled already/);
    assert.equal((await scene.inspect(other)).state, "asleep", "the other one sleeps on");
    const { deadLetters, lag, inFlight, isDone } = await readStatus(scene);
    assert.deepEqual([deadLetters.waiting, lag, inFlight, isDone], [{ cancelled: 1 }, 0, 1, false]);
    sleepy.kill("SIGTERM");
    await sleepy.exited;

    await scene.startWorker({ BATCH_PAUSE_MS: "0" });
    await assertDrivenAgain(scene, id, 3);
    const after = await readStatus(scene);
    assert.deepEqual(after.deadLetters, { waiting: {}, drivenAgain: 1, unread: 0 });
  });

  test("cancel: a record in a long step ends behind it, and the step's effect is not repeated by a redrive", async (t) => {
    const scene = await setScene(t, { SIMULATED_LATENCY_MS: "8000" });
    const worker = await scene.startWorker();
    const id = await scene.seed({ batches: 3 });
    await until("its first step", () => linesWith(worker, `processing record ${id}`).length > 0);
    const { state, worker: holder, steps } = await scene.inspect(id);
    assert.deepEqual([state, holder, steps[0]?.state], ["running", await worker.ready, "running"]);
    await scene.cancel(id);
    await untilDead(scene, id);
    assert.deepEqual(
      (await untilState(scene, id, ({ endedAt }) => endedAt !== undefined)).steps.map((own) => [
        own.name,
        own.state,
      ]),
      [
        ["deleteBatch", "cancelled"],
        ["enqueueDeadLetter", "done"],
      ],
    );
    assert.deepEqual(
      (await scene.entriesOf(id)).map(({ batch, repeats }) => [batch, repeats]),
      [[0, 0]],
    );
    worker.kill("SIGTERM");
    await worker.exited;
    await scene.startWorker({ SIMULATED_LATENCY_MS: "0" });
    await assertDrivenAgain(scene, id, 3);
    assert.deepEqual(
      (await scene.entriesOf(id)).map(({ batch, repeats }) => [batch, repeats]),
      [
        [0, 1],
        [1, 0],
        [2, 0],
      ],
      "the ledger answered",
    );
  });

  test("cancel: a record whose step fails again and again ends before its next tries", async (t) => {
    const scene = await setScene(t, { SIMULATED_FAILURE_RATE: "0.999999", STEP_MAX_ATTEMPTS: "1000" });
    const worker = await scene.startWorker();
    const id = await scene.seed({ batches: 1 });
    await until("a failed try", () => linesWith(worker, `step deleteBatch of ${id} failed`).length > 0);
    await scene.cancel(id);
    await untilDead(scene, id);
    assert.ok(linesWith(worker, `step deleteBatch of ${id} failed`).length < 20);
    assert.equal(await scene.batchesOf(id), 0);
  });

  test("cancel: while no worker runs it takes effect when one does, also one that is killed over it", async (t) => {
    const scene = await setScene(t, { SIMULATED_LATENCY_MS: "1500" });
    const first = await scene.startWorker();
    const id = await scene.seed({ batches: 3 });
    await until("its first step", () => linesWith(first, `processing record ${id}`).length > 0);
    first.kill("SIGTERM");
    await first.exited;
    const { state, steps } = await scene.inspect(id);
    assert.deepEqual([state, steps.map((own) => own.state)], ["waiting", ["done"]]);
    await scene.cancel(id);
    await scene.cancel(id);

    // The execution may come before its worker says that it is ready.
    const second = scene.resources.use(spawnWorker(scene.env, { cwd: scene.folder }));
    follow(scene.proxy, {
      before: ({ request, step }) => {
        if (request.kind === "task.fence" && step?.phase === "end" && step.name === "enqueueDeadLetter")
          second.kill("SIGKILL");
      },
    });
    assert.equal(await second.exited, "SIGKILL");
    await scene.startWorker();
    await untilState(scene, id, ({ endedAt }) => endedAt !== undefined);
    const keys = scene.deadLetters.map(({ headers }) => String(headers?.[HEADERS.key]));
    assert.ok(keys.length >= 1 && new Set(keys).size === 1, "one letter, perhaps twice");
    await untilDead(scene, id);
    assert.equal(await scene.batchesOf(id), 1);
    await runRedrive(scene, { args: ["--reason", "cancelled"] });
    await until("the completion", () => scene.completionsOf(id).length > 0);
    assert.equal(await scene.batchesOf(id), 3);
  });

  test("cancel: a record that goes on in later executions ends with all of them", async (t) => {
    const scene = await setScene(t, { BATCHES_PER_SEGMENT: "1", BATCH_PAUSE_MS: "8000" });
    const worker = await scene.startWorker();
    const id = await scene.seed({ batches: 4 });
    await untilState(scene, id, ({ state, segments }) => state === "asleep" && segments === 2);
    await scene.cancel(id);
    await untilDead(scene, id);
    const { state, steps } = await untilState(scene, id, ({ endedAt }) => endedAt !== undefined);
    assert.equal(state, "cancelled");
    assert.deepEqual(
      steps.map((own) => [own.segment, own.name, own.state]),
      [
        [1, "deleteBatch", "done"],
        [1, "sleep", "done"],
        [1, "enqueueDeadLetter", "done"],
        [2, "deleteBatch", "done"],
        [2, "sleep", "cancelled"],
      ],
    );
    worker.kill("SIGTERM");
    await worker.exited;
    await scene.startWorker({ BATCH_PAUSE_MS: "0" });
    await assertDrivenAgain(scene, id, 4);
  });

  test("status: tells what is unread, asleep, elsewhere and done", async (t) => {
    const scene = await setScene(t, { BATCH_PAUSE_MS: LONG_MS });
    const began = Date.now();
    const ids = [
      await scene.seed({ batches: 2, partition: 0 }),
      await scene.seed({ batches: 2, partition: 0 }),
      await scene.seed({ batches: 1, partition: 1 }),
    ];
    const before = await readStatus(scene);
    assert.deepEqual(
      before.partitions.map(({ partition, lag, oldestUnread }) => [partition, lag, oldestUnread?.offset]),
      [
        [0, 2, "0"],
        [1, 1, "0"],
      ],
    );
    for (const { oldestUnread } of before.partitions) {
      assert.ok(oldestUnread && oldestUnread.ageMs >= 0 && oldestUnread.ageMs <= Date.now() - began);
    }
    assert.deepEqual([before.members, before.inFlight, before.isDone], [[], 0, false]);

    const worker = await scene.startWorker();
    await until("the completion", () => scene.completionsOf(ids[2] ?? "").length > 0);
    const asleep = await until("what sleeps", async () => {
      const status = await readStatus(scene);
      return status.lag === 0 && status.asleep === 2 && status.inFlight === 2 && status;
    });
    assert.deepEqual([asleep.isDone, asleep.completions, asleep.elsewhere], [false, 1, []]);
    assert.deepEqual(
      asleep.members.map((member) => [member.worker, member.partitions.toSorted()]),
      [[await worker.ready, [0, 1]]],
    );
    assert.ok(Date.parse(asleep.nextWakeAt ?? "") > began + Number(LONG_MS) / 2);
    const { stdout } = await runCommand("status", scene);
    assert.match(
      stdout[0] ?? "",
      /not done: every message was read, 2 executions in flight, all of them asleep/,
    );
    const moved = await readStatus(scene, { RESONATE_GROUP: "another" });
    assert.deepEqual(moved.elsewhere, [{ needs: { group: scene.settings.RESONATE_GROUP }, count: 2 }]);

    for (const id of ids.slice(0, 2)) await scene.cancel(id);
    const after = await until("the end", async () => {
      const status = await readStatus(scene);
      return status.isDone && status;
    });
    assert.deepEqual([after.inFlight, after.deadLetters.waiting], [0, { cancelled: 2 }]);
  });

  test("inspect: tells how often each step was tried", async (t) => {
    const scene = await setScene(t, {
      SIMULATED_FAILURE_RATE: "0.5",
      BATCH_PAUSE_MS: "0",
      RETRY_DELAY_MS: "1",
    });
    const worker = await scene.startWorker();
    const id = await scene.seed({ batches: 20 });
    const { steps } = await untilState(scene, id, ({ state }) => state === "done");
    const retries = linesWith(worker, `step deleteBatch of ${id} failed (attempt `).length;
    assert.ok(retries > 0, "some were tried again");
    const calls = steps.filter(({ name }) => name !== "sleep");
    assert.equal(calls.length, 21);
    assert.equal(
      calls.reduce((sum, { attempts = 0 }) => sum + attempts, 0),
      calls.length + retries,
    );
  });

  test("inspect and cancel: an unknown record is one line and exit code 1, and so is the cancelling of one that is done", async (t) => {
    const scene = await setScene(t);
    for (const command of ["inspect", "cancel"]) {
      const { end, stdout, stderr } = await runCommand(command, scene, { args: ["no\u001b[31mbody"] });
      assert.deepEqual([end, stdout, stderr.length], [1, [], 1]);
      assert.match(stderr[0] ?? "", /^no execution of record no\\u001b\[31mbody at deletion:/);
      assert.equal((await runCommand(command, scene)).end, 1, "no id");
    }
    await scene.startWorker();
    const id = await scene.seed({ batches: 1 });
    await until("the completion", () => scene.completionsOf(id).length > 0);
    const done = await untilState(scene, id, ({ state }) => state === "done");
    assert.deepEqual([done.result, done.steps.length], [`workflow ${id} completed`, 2]);
    const { end, stderr } = await runCommand("cancel", scene, { args: [id] });
    assert.deepEqual([end, stderr], [1, [`record ${id} is done already: there is nothing to cancel`]]);
    const { stdout } = await runCommand("inspect", scene, { args: [id] });
    assert.match(stdout[0] ?? "", new RegExp(`^record ${id}: done at `));
  });
});
