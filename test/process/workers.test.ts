import assert from "node:assert/strict";
import { suite, test } from "node:test";
import { spawnWorker, type WorkerProcess } from "../../src/demo/worker-process.ts";
import { HEADERS } from "../../src/worker/dead-letter.ts";
import { setScene } from "../helpers/deletion-scene.ts";
import { fixture } from "../helpers/fixture-job.ts";
import { isAlive, isGroupAlive, pidsIn, spawnNpm } from "../helpers/npm.ts";
import { follow, isStep, Lost } from "../helpers/protocol.ts";
import { type Env, linesWith, type Scene, until, within } from "../helpers/scene.ts";

/** Longer than any test waits: what goes on before was handed back. */
const LONG_LEASE = { LEASE_TTL_MS: "60000" };

/** Starts `--workers 2` and waits until both are ready; gives back their process ids, too. */
const startTwo = async ({ env, folder: cwd, resources }: Scene, job = "deletion", extra: Env = {}) => {
  const parent = resources.use(spawnWorker({ ...env, ...extra }, { cwd, args: [job, "--workers", "2"] }));
  const pids = await until("both workers", () => pidsIn(parent.lines).length === 2 && pidsIn(parent.lines));
  return { parent, pids };
};

const pidOf = (worker: string | undefined) => Number(worker?.split("-", 1)[0]);

/** Kills the worker whose first step is about to end, and tells when another one asks for its execution. */
const killInStep = (scene: Scene) => {
  const killed = Promise.withResolvers<{ pid: number; id: string; at: number }>();
  const taken = Promise.withResolvers<number>();
  let victim: string | undefined;
  follow(scene.proxy, {
    before: (passing) => {
      if (victim !== undefined || !isStep("deleteBatch", "end")(passing)) return;
      victim = passing.worker;
      const pid = pidOf(victim);
      process.kill(pid, "SIGKILL");
      killed.resolve({ pid, id: passing.recordId, at: performance.now() });
      throw new Lost("the worker is dead");
    },
    after: async ({ request, recordId, worker }, status) => {
      if (request.kind !== "task.acquire" || status !== 200 || victim === undefined || worker === victim)
        return;
      if (recordId === (await killed.promise).id) taken.resolve(performance.now());
    },
  });
  return { killed: within("a step", killed.promise), taken: taken.promise };
};

const deathsIn = (parent: WorkerProcess) => linesWith(parent, " died (");

suite("several worker processes", { concurrency: 2, timeout: 180_000 }, () => {
  test("mode 53: one of several worker processes dies in a step: another goes on at once, and it is started again", async (t) => {
    const scene = await setScene(t, { ...LONG_LEASE, SESSION_TIMEOUT_MS: "40000" });
    const { parent, pids } = await startTwo(scene);
    const { killed, taken } = killInStep(scene);
    const first = await scene.seed({ batches: 3 });
    const { pid, id, at } = await killed;
    assert.ok(pids.includes(pid));
    assert.equal(id, first);
    const ms = (await within("the takeover", taken)) - at;
    assert.ok(ms < 3000, `expected the takeover at once, got it after ${Math.round(ms)} ms`);
    await until("the completion", () => scene.completionsOf(first).length > 0);
    const repeats = (await scene.entriesOf(first)).map((entry) => entry.repeats);
    assert.deepEqual(repeats, [1, 0, 0], "the cut step was given its first answer");

    // Long before the dead one's session ends: the parent has left the group in its name.
    const joined = () => pidsIn(parent.lines).find((own) => !pids.includes(own));
    const another = await until("another worker", joined, 30_000);
    assert.deepEqual(
      deathsIn(parent).map((line) => line.replace(/^.*?\] /, "")),
      [`worker ${pid} died (SIGKILL); handed back 1 leases; starting again in 1 s`],
    );
    const later = await Promise.all([0, 1].map((partition) => scene.seed({ batches: 1, partition })));
    const areDone = () => later.every((own) => scene.completionsOf(own).length > 0);
    await until("the later ones' completions", areDone, 30_000);
    parent.kill("SIGTERM");
    assert.equal(await within("the end", parent.exited), 0);
    assert.ok(!isAlive(another));
  });

  test("mode 53: a frozen worker process is not replaced; killed after another took over, it hands back nothing", async (t) => {
    const scene = await setScene(t, { LEASE_TTL_MS: "1000", SIMULATED_LATENCY_MS: "6000" });
    const { parent } = await startTwo(scene);
    const begun = Promise.withResolvers<number>();
    const holders: number[] = [];
    let refused = 0;
    follow(scene.proxy, {
      after: ({ request, worker, step }, status) => {
        const pid = pidOf(worker);
        if (step?.phase === "begin" && status === 200) begun.resolve(pid);
        const isLease = request.kind === "task.create" || request.kind === "task.acquire";
        if (isLease && status === 200) holders.push(pid);
        if (request.kind === "task.release" && status === 409) refused += 1;
      },
    });
    const id = await scene.seed({ batches: 1 });
    const frozen = await within("a step", begun.promise);
    process.kill(frozen, "SIGSTOP");
    await until("the takeover", () => holders.length === 2);
    assert.notEqual(holders[1], frozen);
    assert.deepEqual(deathsIn(parent), [], "it only is slow");

    process.kill(frozen, "SIGKILL");
    await until("the hand-back", () => deathsIn(parent).length === 1);
    assert.match(deathsIn(parent)[0] ?? "", /handed back 0 of 1 leases/);
    assert.equal(refused, 1);
    await until("the completion", () => scene.completionsOf(id).length > 0);
    assert.deepEqual(holders.length, 2, "whoever has it keeps it");
  });

  test("mode 53: the Resonate server is away when a worker process dies: its lease expires, and the record is done", async (t) => {
    const scene = await setScene(t, { LEASE_TTL_MS: "3000" });
    const { parent } = await startTwo(scene);
    const { killed } = killInStep(scene);
    const lost = killed.then(() => {
      scene.proxy.onRequest = () => {
        throw new Lost("the server is away");
      };
    });
    const id = await scene.seed({ batches: 2 });
    await lost;
    await until("the line", () => deathsIn(parent).length === 1);
    assert.match(deathsIn(parent)[0] ?? "", /handed back 0 of 1 leases; starting again in 1 s/);
    scene.proxy.onRequest = () => {};
    await until("the completion", () => scene.completionsOf(id).length > 0);
    assert.equal(await scene.batchesOf(id), 2);
  });

  test("mode 54: a record that kills its worker processes: a dead letter after STEP_MAX_TAKEOVERS, no crash loop", async (t) => {
    const scene = await setScene(t, { STEP_MAX_TAKEOVERS: "3" });
    const { parent } = await startTwo(scene, fixture("deletion-with-faults.ts"));
    const bad = await scene.seed({ batches: 3, recordId: "kills-1" });
    const good = await Promise.all([0, 1].map((partition) => scene.seed({ batches: 3, partition })));
    await until("the dead letter", () => scene.deadLetters.some(({ key }) => String(key) === bad));
    await until("the others' completions", () => good.every((id) => scene.completionsOf(id).length > 0));
    await until("the line of the third death", () => deathsIn(parent).length >= 3);
    assert.match(
      String(scene.deadLetters[0]?.headers?.[HEADERS.error]),
      /begun 3 times and never came to an end/,
    );

    const later = await scene.seed({ batches: 1 });
    await until("a later one's completion", () => scene.completionsOf(later).length > 0);
    assert.equal(deathsIn(parent).length, 3, "no further death");
  });

  test("mode 55: SIGTERM to the parent of worker processes lets the steps of all of them end", async (t) => {
    const scene = await setScene(t, { SIMULATED_LATENCY_MS: "1500", SHUTDOWN_GRACE_MS: "5000" });
    const { parent, pids } = await startTwo(scene);
    const ids = await Promise.all([0, 1].map((partition) => scene.seed({ batches: 1, partition })));
    await until("a step of each", () => linesWith(parent, "processing record").length === 2);
    const stoppedAt = performance.now();
    parent.kill("SIGTERM");
    assert.equal(await within("the end", parent.exited), 0);
    const ms = performance.now() - stoppedAt;
    const limit = scene.settings.SHUTDOWN_GRACE_MS + 2000;
    assert.ok(ms <= limit, `expected its end within ${limit} ms, got ${Math.round(ms)} ms`);
    assert.ok(!pids.some(isAlive), "its workers have ended before it");
    assert.equal(linesWith(parent, "stopping: 1 running steps may end first").length, 2);
    for (const id of ids) assert.equal(await scene.batchesOf(id), 1);
    assert.deepEqual(deathsIn(parent), []);
  });

  test("mode 55: Ctrl-C, which reaches the parent and its worker processes, is a graceful stop", async (t) => {
    const scene = await setScene(t, { SIMULATED_LATENCY_MS: "1500", SHUTDOWN_GRACE_MS: "5000" });
    const npm = spawnNpm(t, ["start", "--", "--workers", "2"], scene.env);
    await until("both workers", () => pidsIn(npm.lines).length === 2);
    const id = await scene.seed({ batches: 1 });
    await until("a step", () => npm.lines.some((line) => line.includes("processing record")));
    npm.killGroup("SIGINT");
    assert.equal(await within("the end", npm.exited), 0);
    assert.ok(!isGroupAlive(npm.pid), "nothing is left");
    assert.equal(await scene.batchesOf(id), 1, "its step came to its end");
    assert.deepEqual(
      npm.lines.filter((line) => line.includes(" died (")),
      [],
    );
  });

  test("mode 55: one that does not stop in time is killed, and the parent ends within SHUTDOWN_GRACE_MS + 2 s", async (t) => {
    const scene = await setScene(t, { SHUTDOWN_GRACE_MS: "1000" });
    const { parent, pids } = await startTwo(scene);
    const [frozen = 0] = pids;
    process.kill(frozen, "SIGSTOP");
    const stoppedAt = performance.now();
    parent.kill("SIGTERM");
    assert.equal(await within("the end", parent.exited), 0);
    const ms = performance.now() - stoppedAt;
    assert.ok(ms > 1000 && ms <= 3000, `expected its end within 3000 ms, got ${Math.round(ms)} ms`);
    assert.ok(!pids.some(isAlive));
  });

  test("mode 56: the parent of worker processes is killed: they stop gracefully within a second", async (t) => {
    const scene = await setScene(t, { ...LONG_LEASE, SIMULATED_LATENCY_MS: "4000" });
    const { parent, pids } = await startTwo(scene);
    const id = await scene.seed({ batches: 1 });
    await until("a step", () => linesWith(parent, "processing record").length === 1);
    const killedAt = performance.now();
    parent.kill("SIGKILL");
    // Its output ends with the last of its workers.
    assert.equal(await within("the end", parent.exited), "SIGKILL");
    const ms = performance.now() - killedAt;
    assert.ok(ms < 2000, `expected their end within a second, got ${Math.round(ms)} ms`);
    await until("nothing to be left", () => !pids.some(isAlive));
    assert.equal(linesWith(parent, "stopping: ").length, 2);

    await scene.startWorker({ SIMULATED_LATENCY_MS: "0" });
    await until("the completion", () => scene.completionsOf(id).length > 0);
  });

  test("worker processes that cannot start end their parent with exit code 1", async (t) => {
    const { env, folder } = await setScene(t);
    const settings = { ...env, RECORDS_DB: folder };
    await using parent = spawnWorker(settings, { cwd: folder, args: ["--workers", "2"] });
    assert.equal(await within("the end", parent.exited), 1);
    assert.ok(parent.lines.includes(`row store ${folder}: unable to open database file`));
    assert.match(parent.lines.join("\n"), /expected worker \d+ to start, got its end with exit code 1/);
  });

  test("ports that do not suffice for so many worker processes are told before any is started", async (t) => {
    const { env, folder } = await setScene(t);
    const settings = { ...env, HTTP_PORT: "65534" };
    await using parent = spawnWorker(settings, { cwd: folder, args: ["--workers", "3"] });
    assert.equal(await within("the end", parent.exited), 1);
    assert.deepEqual(parent.lines, [
      'HTTP_PORT: expected a port of at most 65533 for 3 workers, got "65534"',
    ]);
  });
});
