import assert from "node:assert/strict";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { createServer } from "node:net";
import { suite, test } from "node:test";
import { setTimeout } from "node:timers/promises";
import { spawnWorker } from "../../src/demo/worker-process.ts";
import { setScene } from "../helpers/deletion-scene.ts";
import { isAlive, isGroupAlive, type NpmProcess, pidsIn, spawnNpm } from "../helpers/npm.ts";
import { linesWith, type Scene, until, within } from "../helpers/scene.ts";

/** A stop takes the time given to running steps, and this much more, in milliseconds. */
const OVERRUN_MS = 2000;

const SHELLS = ["/bin/dash", "/bin/bash"].filter((path) => existsSync(path));

/** Waits for the end of a worker that was told to stop, which must come in time and be a graceful one. */
const assertStops = async ({ settings }: Pick<Scene, "settings">, { exited }: Pick<NpmProcess, "exited">) => {
  const stoppedAt = performance.now();
  const limit = settings.SHUTDOWN_GRACE_MS + OVERRUN_MS;
  assert.equal(await within("the end", exited, limit + 5000), 0);
  const ms = performance.now() - stoppedAt;
  assert.ok(ms <= limit, `expected its end within ${limit} ms, got ${Math.round(ms)} ms`);
};

/** Whether a process is stopped by SIGSTOP: field 3 of proc(5). */
const isStopped = async (pid: number) => / [Tt] /.test(await readFile(`/proc/${pid}/stat`, "utf8"));

suite("stops by the way a worker was started", { concurrency: 2, timeout: 180_000 }, () => {
  for (const shell of SHELLS) {
    for (const [what, interrupt] of [
      ["SIGTERM to npm", async (npm: NpmProcess) => npm.kill("SIGTERM")],
      [
        "Ctrl-C, which npm passes on as well,",
        async (npm: NpmProcess) => {
          npm.killGroup("SIGINT");
          await setTimeout(100);
          npm.killGroup("SIGINT");
        },
      ],
    ] as const) {
      test(`mode 46: ${what} lets the step of a worker end that 'npm start' runs in ${shell}`, async (t) => {
        const scene = await setScene(t, { SHUTDOWN_GRACE_MS: "5000", SIMULATED_LATENCY_MS: "1500" });
        const npm = spawnNpm(t, ["start"], { ...scene.env, npm_config_script_shell: shell });
        const [worker = 0] = await until(
          "the worker",
          () => pidsIn(npm.lines).length > 0 && pidsIn(npm.lines),
        );
        assert.notEqual(worker, npm.pid, "npm stands before it");
        const id = await scene.seed({ batches: 1 });
        await until("a step", () => npm.lines.some((line) => line.includes(`processing record ${id} `)));

        const stops = assertStops(scene, npm);
        await interrupt(npm);
        await stops;
        assert.ok(!isAlive(worker), "it ends with npm");
        assert.ok(!isGroupAlive(npm.pid), "nothing is left");
        assert.ok(
          npm.lines.some((line) => line.includes("stopping: 1 running steps may end first")),
          npm.lines.join("\n"),
        );
        assert.equal(await scene.batchesOf(id), 1, "its step came to its end");

        await scene.startWorker({ SIMULATED_LATENCY_MS: "0" });
        await until("the completion", () => scene.completionsOf(id).length > 0);
        assert.equal((await scene.entriesOf(id))[0]?.repeats, 0, "and its checkpoint was written");
      });
    }
  }

  test("mode 46: a worker that joins beside a frozen one ends at once", async (t) => {
    if (!existsSync("/proc/self/stat")) return t.skip("needs /proc");
    const scene = await setScene(t, { SHUTDOWN_GRACE_MS: "1000", SESSION_TIMEOUT_MS: "30000" });
    const frozen = await scene.startWorker();
    frozen.kill("SIGSTOP");
    await until("the worker to be frozen", () => isStopped(frozen.pid));

    await using joining = spawnWorker(scene.env, { cwd: scene.folder });
    const admin = scene.kafka.admin();
    await admin.connect();
    t.after(() => admin.disconnect());
    await until("the group to wait for the frozen worker", async () => {
      const { groups } = await admin.describeGroups([scene.settings.KAFKA_GROUP_ID]);
      return groups[0]?.members.length === 2 && groups[0].state === "PreparingRebalance";
    });
    const stops = assertStops(scene, joining);
    joining.kill("SIGTERM");
    await stops;
    assert.equal(linesWith(joining, "joined consumer group").length, 0, "it was still joining");
    assert.ok(await isStopped(frozen.pid), "beside a frozen one");
  });

  test("mode 46: a worker whose Resonate server hangs from the start ends at once", async (t) => {
    const scene = await setScene(t, { SHUTDOWN_GRACE_MS: "1000" });
    const mute = createServer();
    mute.listen(0, "127.0.0.1");
    await once(mute, "listening");
    const address = mute.address();
    assert.ok(address !== null && typeof address === "object");
    const connected = once(mute, "connection");
    t.after(() => void mute.close());

    const env = { ...scene.env, RESONATE_URL: `http://127.0.0.1:${address.port}` };
    await using worker = spawnWorker(env, { cwd: scene.folder });
    const [socket] = await within("a request to the server", connected);
    t.after(() => socket.destroy());
    const stops = assertStops(scene, worker);
    worker.kill("SIGTERM");
    await stops;
  });

  test("mode 46: a worker whose Resonate server hangs in the middle ends in time, and another goes on", async (t) => {
    const scene = await setScene(t, { SHUTDOWN_GRACE_MS: "1000", LEASE_TTL_MS: "3000" });
    const worker = await scene.startWorker();
    const hung = Promise.withResolvers<void>();
    const end = Promise.withResolvers<void>();
    t.after(() => end.resolve());
    let held = 0;
    scene.proxy.onRequest = async ({ kind }) => {
      if (kind === "task.fence") hung.resolve();
      if (kind !== "task.fence" && held === 0) return;
      held += 1;
      await end.promise;
    };
    const id = await scene.seed({ batches: 2 });
    await within("a step to hang", hung.promise);
    const stops = assertStops(scene, worker);
    worker.kill("SIGTERM");
    await stops;
    assert.ok(held > 0, "the server hung");

    end.resolve();
    scene.proxy.onRequest = () => {};
    await scene.startWorker();
    await until("the completion", () => scene.completionsOf(id).length > 0);
    assert.equal(await scene.batchesOf(id), 2);
  });
});
