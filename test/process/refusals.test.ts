import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { readFileSync } from "node:fs";
import { suite, type TestContext, test } from "node:test";
import { setTimeout } from "node:timers/promises";
import type { Request } from "@resonatehq/sdk";
import { spawnWorker, type WorkerProcess } from "../../src/demo/worker-process.ts";
import { openRecords } from "../../src/jobs/deletion/open-records.ts";
import { requestHead } from "../../src/resonate/request.ts";
import { KEY_TAG } from "../../src/worker/checkpoint.ts";
import { HEADERS } from "../../src/worker/dead-letter.ts";
import { IDEMPOTENCY_KEY_HEADER } from "../../src/worker/publish.ts";
import { ask } from "../helpers/ask.ts";
import { setScene } from "../helpers/deletion-scene.ts";
import { spawnFixture, startFixture } from "../helpers/fixture-job.ts";
import { effectsOnce, type JobScene, type JobUnderTest, jobs, keysOf } from "../helpers/job-scene.ts";
import { follow } from "../helpers/protocol.ts";
import { type Refuser, startRefuser } from "../helpers/refuser.ts";
import { type Env, linesWith, type Scene, skipWithoutHttp, until, within } from "../helpers/scene.ts";

const WORDS = "this is refused for good";
/** Both ways in which a refusal comes: from the server, and from something before it. */
const FORMS = [
  { from: "the server", isProtocol: true },
  { from: "a proxy before it", isProtocol: false },
];

const setRefuser = async (t: TestContext, job: JobUnderTest, env: Env = {}) => {
  const scene = await job.setScene(t, env);
  const refuser = scene.resources.use(await startRefuser(scene.proxy.url));
  return { scene, refuser };
};

/** The promise that a request of a running execution creates or settles. */
const actionOf = (request: Request) => (request.kind === "task.fence" ? request.data.action : undefined);

const keyCreated = (request: Request): string | undefined => {
  const action = actionOf(request);
  return action?.kind === "promise.create" ? action.data.tags[KEY_TAG] : undefined;
};

/** What is refused of a message: which requests, and how many effects it has had by then. */
const REFUSED: readonly {
  readonly what: string;
  readonly effects: number;
  readonly reason: string;
  /** Of a message of `id`, whose steps have these keys; called with each request. */
  readonly matches: (id: string, keys: readonly string[]) => (request: Request) => boolean;
}[] = [
  {
    what: "the start of a message's execution",
    effects: 0,
    reason: "start-refused",
    matches: (id) => (request) => request.kind === "task.create" && request.data.action.data.id === id,
  },
  {
    what: "one step",
    effects: 1,
    reason: "execution-failed",
    matches: (_id, keys) => (request) => keyCreated(request) === keys[1],
  },
  {
    what: "one sleep",
    effects: 1,
    reason: "execution-failed",
    matches: (id) => (request) => {
      const action = actionOf(request);
      return (
        action?.kind === "promise.create" &&
        action.data.id.startsWith(`${id}:`) &&
        action.data.tags["resonate:timer"] === "true"
      );
    },
  },
  {
    what: "the wait for one sleep",
    effects: 1,
    reason: "execution-failed",
    matches: (id) => (request) => request.kind === "task.suspend" && request.data.id.startsWith(id),
  },
  {
    what: "the result of one step",
    effects: 1,
    reason: "execution-failed",
    matches: (_id, keys) => {
      let step: string | undefined;
      return (request) => {
        const action = actionOf(request);
        if (keyCreated(request) === keys[0]) step = action?.data.id;
        return (
          action?.kind === "promise.settle" && action.data.id === step && action.data.state === "resolved"
        );
      };
    },
  },
];

const letterOf = ({ deadLetters }: Scene, id: string) =>
  deadLetters.filter(({ key, headers }) => String(key ?? headers?.[HEADERS.key]).includes(id));

/** Of one message and those behind it: the one has a dead letter with `words` in its error, the others are done. */
const assertSetAside = async (
  scene: JobScene,
  job: JobUnderTest,
  { bad, others, words, reason }: { bad: string; others: readonly string[]; words: RegExp; reason: string },
  areCut = false,
) => {
  await until("the others' completions", () => others.every((id) => scene.completionsOf(id).length > 0));
  const [letter] = await until("the dead letter", () => {
    const letters = letterOf(scene, bad);
    return letters.length > 0 && letters;
  });
  assert.equal(String(letter?.headers?.[HEADERS.reason]), reason);
  assert.match(String(letter?.headers?.[HEADERS.error]), words);
  await until("the commit of all", async () => (await scene.committed()) === others.length + 1);
  assert.equal(scene.deadLetters.length, 1);
  assert.deepEqual(scene.completionsOf(bad), []);
  for (const id of others) {
    const completions = scene.completionsOf(id);
    const keys = new Set(completions.map(({ headers }) => String(headers?.[IDEMPOTENCY_KEY_HEADER])));
    assert.deepEqual([keys.size, areCut || completions.length === 1], [1, true]);
    // A step that was cut asks again, under the same key.
    const effects = (await scene.effectsOf(id)).map(({ key, repeats }) => ({
      key,
      repeats: areCut ? 0 : repeats,
    }));
    assert.deepEqual(effects, effectsOnce(job, id));
  }
};

/** Refuses from the first message on that `matches` is called for: its id is not known before it is produced. */
const refuseFirst = (
  refuser: Refuser,
  job: JobUnderTest,
  isProtocol: boolean,
  matches: (typeof REFUSED)[0],
) => {
  const bad = Promise.withResolvers<string>();
  let isRefused: ((request: Request) => boolean) | undefined;
  refuser.refuse = (request) => {
    if (isRefused === undefined && request.kind === "task.create") {
      const { id } = request.data.action.data;
      isRefused = matches.matches(id, keysOf(job, id));
      bad.resolve(id);
    }
    return isRefused?.(request) ? { status: 400, words: WORDS, isProtocol } : undefined;
  };
  return bad.promise;
};

suite("refusals", { concurrency: 3, timeout: 600_000 }, () => {
  for (const job of jobs) {
    for (const { from, isProtocol } of FORMS) {
      for (const refusal of REFUSED) {
        test(`mode 32: ${from} refuses ${refusal.what} of ${job.name} for good: a dead letter with its words, the others are done`, {
          skip: skipWithoutHttp,
        }, async (t) => {
          // A sleep that is over before its failure is stored goes on.
          const { scene, refuser } = await setRefuser(t, job, { [job.pause]: "1000" });
          const refused = refuseFirst(refuser, job, isProtocol, refusal);
          await scene.startWorker({ RESONATE_URL: refuser.url });
          const first = await scene.seedOne(0);
          const bad = await within("the refused one", refused);
          assert.equal(bad, first);
          const others = await Promise.all([scene.seedOne(0), scene.seedOne(0)]);
          const { reason, effects } = refusal;
          await assertSetAside(scene, job, { bad, others, words: new RegExp(WORDS), reason });
          const times = refuser.refused.length;
          assert.ok(times >= 1 && times <= 3, `refused ${times} times`);
          assert.deepEqual(await scene.effectsOf(bad), effectsOnce(job, bad).slice(0, effects));
        });
      }
    }
  }

  /** As a server that is newer than the SDK does. */
  const refuseIds = (request: Request) => {
    const action = request.kind === "promise.create" ? request : actionOf(request);
    const isRefused = action?.kind === "promise.create" && action.data.id.includes(":");
    return isRefused ? { status: 400, words: "ids hold no ':'", isProtocol: true } : undefined;
  };

  test("mode 32: a server that is newer than the SDK: the start says so and ends", {
    skip: skipWithoutHttp,
  }, async (t) => {
    const scene = await setScene(t);
    const refuser = scene.resources.use(await startRefuser(scene.proxy.url));
    refuser.refuse = refuseIds;
    await using worker = spawnWorker({ ...scene.env, RESONATE_URL: refuser.url }, { cwd: scene.folder });
    assert.equal(await within("the worker's end", worker.exited), 1);
    assert.match(worker.lines.at(-1) ?? "", /ids hold no ':'.*Use server 0\.9\.8, or a newer SDK/);
    assert.ok(refuser.refused.length > 0);
  });

  for (const job of jobs) {
    test(`mode 32: a server that begins to refuse everything is no reason to bury messages of ${job.name}: they go on once it does not`, {
      skip: skipWithoutHttp,
    }, async (t) => {
      const { scene, refuser } = await setRefuser(t, job, { [job.pause]: "1000" });
      const worker = await scene.startWorker({ RESONATE_URL: refuser.url });
      refuser.refuse = refuseIds;
      const ids = await Promise.all([scene.seedOne(), scene.seedOne()]);
      await until("each to be handed back", () =>
        ids.every((id) => linesWith(worker, `execution ${id} cannot go on here`).length > 1),
      );
      assert.ok(refuser.refused.length > ids.length);
      assert.deepEqual(scene.deadLetters, []);
      refuser.refuse = () => undefined;
      await until("all completions", () => ids.every((id) => scene.completionsOf(id).length > 0));
      assert.deepEqual(scene.deadLetters, []);
      for (const id of ids) assert.deepEqual(await scene.effectsOf(id), effectsOnce(job, id));
    });
  }

  /** Milliseconds of a processor that a process has used. */
  const cpuOf = ({ pid }: WorkerProcess): number => {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    // In ticks of 10 ms: utime and stime, proc_pid_stat(5).
    return (Number(fields[11]) + Number(fields[12])) * 10;
  };

  /** Makes a promise that a worker of the scene's group is sent. */
  const createExecution = async (scene: Scene, id: string, data: string) => {
    const tags = {
      "resonate:origin": id,
      "resonate:branch": id,
      "resonate:parent": id,
      "resonate:target": `poll://any@${scene.env.RESONATE_GROUP}`,
    };
    const timeoutAt = Date.now() + 600_000;
    const own = { id, timeoutAt, param: { headers: {}, data }, tags };
    assert.equal(await ask(scene, { kind: "promise.create", head: requestHead(), data: own }), 200);
  };

  const base64 = (value: unknown) => Buffer.from(JSON.stringify(value)).toString("base64");
  const UNABLE = [
    {
      what: "calls a function that is not known here",
      data: () => base64({ func: "foo", args: [], version: 1 }),
    },
    {
      what: "is of a version that is not known here",
      data: ({ env }: Scene) => base64({ func: `deletion:${env.TOPIC_SOURCE}`, args: ["{}"], version: 7 }),
    },
    { what: "cannot be decoded", data: () => "%%%" },
    { what: "calls nothing", data: () => base64({ nothing: true }) },
  ];
  const WINDOW_MS = 12_000;

  for (const { what, data } of UNABLE) {
    test(`mode 33: an execution that ${what}: a growing pause, one line a try, next to no work, a quick stop`, async (t) => {
      const scene = await setScene(t);
      const acquired: number[] = [];
      const id = `strange-${randomUUID()}`;
      follow(scene.proxy, {
        after: ({ request, recordId }, status) => {
          if (request.kind === "task.acquire" && recordId === id && status === 200) acquired.push(Date.now());
        },
      });
      const worker = await scene.startWorker();
      const ours = await scene.seed({ batches: 2 });
      await until("a completion", () => scene.completionsOf(ours).length > 0);
      await setTimeout(3000);
      const [idleFrom, idleSince] = [cpuOf(worker), performance.now()];
      await setTimeout(WINDOW_MS);
      const idle = (cpuOf(worker) - idleFrom) / (performance.now() - idleSince);

      await createExecution(scene, id, data(scene));
      const tries = () => linesWith(worker, `execution ${id} cannot go on here`);
      await until("the first try", () => tries().length > 0);
      const [from, since] = [cpuOf(worker), performance.now()];
      await setTimeout(WINDOW_MS);
      const busy = (cpuOf(worker) - from) / (performance.now() - since);
      t.diagnostic(`of a core: idle ${(idle * 100).toFixed(2)} %, with it ${(busy * 100).toFixed(2)} %`);
      assert.ok(busy - idle < 0.01, `${busy} of a core, ${idle} without it`);
      const pauses = tries().map((line) => /next try in (\d+) s/.exec(line)?.[1]);
      assert.deepEqual(pauses, ["1", "2", "4", "8", "16"].slice(0, pauses.length));
      assert.ok(pauses.length >= 3, `tried ${pauses.length} times`);
      assert.ok(acquired.length <= pauses.length + 1, `acquired ${acquired.length} times`);
      const lines = linesWith(worker, id).length;
      assert.ok(lines <= pauses.length + 1, `${lines} lines for ${pauses.length} tries`);

      const other = await scene.seed({ batches: 2 });
      await until("a completion beside it", () => scene.completionsOf(other).length > 0);
      const stopped = performance.now();
      worker.kill("SIGTERM");
      assert.equal(await within("the worker's end", worker.exited), 0);
      const tookMs = performance.now() - stopped;
      assert.ok(tookMs < 3000, `the stop took ${tookMs} ms`);
    });
  }

  for (const [prefix, words, steps] of [
    ["bigint", /describeRecord.*BigInt/, 0],
    ["circle", /describeRecord.*circular/i, 0],
    ["result", /the workflow.*BigInt/, 2],
  ] as const) {
    test(`mode 33: a result that cannot be encoded (${prefix}) fails once, and the message is a dead letter`, async (t) => {
      const scene = await setScene(t);
      let acquires = 0;
      const bad = `${prefix}-${randomUUID()}`;
      follow(scene.proxy, {
        after: ({ request, recordId }) => {
          if (request.kind === "task.acquire" && recordId === bad) acquires += 1;
        },
      });
      const worker = await startFixture(scene, "deletion-with-faults.ts");
      await scene.seed({ batches: 2, partition: 0, recordId: bad });
      const good = await scene.seed({ batches: 2, partition: 0 });
      await until("the other's completion", () => scene.completionsOf(good).length > 0);
      await until("the dead letter", () => scene.deadLetters.length > 0);
      await until("the commit of both", async () => (await scene.committed()) === 2);
      assert.deepEqual(
        scene.deadLetters.map(({ key, headers }) => [String(key), String(headers?.[HEADERS.reason])]),
        [[bad, "execution-failed"]],
      );
      assert.match(String(scene.deadLetters[0]?.headers?.[HEADERS.error]), words);
      assert.equal(await scene.batchesOf(bad), steps);
      assert.ok(acquires <= steps, `acquired ${acquires} times`);
      const stopped = performance.now();
      worker.kill("SIGTERM");
      assert.equal(await within("the worker's end", worker.exited), 0);
      assert.ok(performance.now() - stopped < 3000);
    });
  }

  /** Starts a worker of a fixture whenever the one before has ended, as a supervisor does, until `isDone`. */
  const supervise = async (scene: Scene, file: string, env: Env, isDone: () => boolean) => {
    const ends: (number | NodeJS.Signals)[] = [];
    const keepOne = async (): Promise<WorkerProcess> => {
      for (;;) {
        const worker = spawnFixture(scene, file, env);
        const end = await Promise.race([worker.exited, until("all to be done", isDone, 150_000)]);
        if (end === true) return worker;
        ends.push(end);
      }
    };
    const workers = await Promise.all([keepOne(), keepOne()]);
    return { ends, workers };
  };

  const TAKEOVERS = 3;
  const killers: Record<string, (scene: JobScene, partition: number) => Promise<string>> = {
    deletion: async (scene, partition) => {
      const id = `kills-${randomUUID()}`;
      await using records = await openRecords(scene.env.RECORDS_DB ?? "", {
        worker: "test",
        lockWaitMs: 5000,
      });
      await records.addRows(new Map([[id, 30]]));
      await scene.produce({ key: id, value: JSON.stringify(id), partition });
      return id;
    },
    orders: async (scene, partition) => {
      const orderId = `kills-${randomUUID()}`;
      await scene.produce({ key: orderId, value: JSON.stringify({ orderId, amount: 666 }), partition });
      return orderId;
    },
  };

  for (const job of jobs) {
    test(`mode 34: a step of ${job.name} that kills its process: a dead letter after ${TAKEOVERS} takeovers, the workers live, the others are done`, async (t) => {
      const scene = await job.setScene(t, { STEP_MAX_TAKEOVERS: String(TAKEOVERS), [job.pause]: "500" });
      const seedKiller = killers[job.name];
      assert.ok(seedKiller);
      const bad = await seedKiller(scene, 0);
      const others = await Promise.all([0, 0, 1, 1].map((partition) => scene.seedOne(partition)));
      const { ends, workers } = await supervise(
        scene,
        `${job.name}-with-faults.ts`,
        {},
        () => scene.deadLetters.length > 0 && others.every((id) => scene.completionsOf(id).length > 0),
      );
      assert.deepEqual(
        ends,
        Array.from({ length: TAKEOVERS }, () => "SIGKILL"),
      );
      const words = /begun 3 times and never came to an end/;
      await assertSetAside(scene, job, { bad, others, words, reason: "execution-failed" }, true);
      const killing = effectsOnce(job, bad)[job.name === "deletion" ? 1 : 0];
      const asked = (await scene.effectsOf(bad)).find(({ key }) => key === killing?.key);
      assert.deepEqual(asked, { ...killing, repeats: TAKEOVERS - 1 }, "its effect took place once");

      const later = await scene.seedOne(0);
      await until("a later one's completion", () => scene.completionsOf(later).length > 0);
      for (const worker of workers) {
        worker.kill("SIGTERM");
        assert.equal(await within("a worker's end", worker.exited), 0, "it had lived");
      }
    });
  }

  test("mode 34: a step that is handed back by stops is not taken for one that kills its workers", async (t) => {
    const scene = await setScene(t, {
      STEP_MAX_TAKEOVERS: "2",
      SIMULATED_LATENCY_MS: "4000",
      SHUTDOWN_GRACE_MS: "0",
    });
    let begun = 0;
    let handedBack = 0;
    let id = "";
    follow(scene.proxy, {
      after: ({ request, recordId, step }, status) => {
        if (recordId !== id || status !== 200) return;
        if (step?.phase === "begin" || request.kind === "task.acquire") begun += 1;
        if (request.kind === "task.release") handedBack += 1;
      },
    });
    const first = await scene.startWorker();
    id = await scene.seed({ batches: 1 });
    await until("the step to run", () => begun === 1);
    first.kill("SIGTERM");
    assert.equal(await within("the first worker's end", first.exited), 0);
    const second = await scene.startWorker();
    await until("the step to run again", () => begun === 2);
    second.kill("SIGTERM");
    assert.equal(await within("the second worker's end", second.exited), 0);
    assert.equal(handedBack, 2);
    await scene.startWorker();
    await until("the completion", () => scene.completionsOf(id).length > 0);
    assert.deepEqual(scene.deadLetters, []);
  });
});
