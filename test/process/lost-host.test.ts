import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { DatabaseSync } from "node:sqlite";
import { suite, type TestContext, test } from "node:test";
import { startSilentUrlProxy } from "../../src/demo/silent-proxy.ts";
import { startProxy } from "../../src/demo/start-proxy.ts";
import type { WorkerProcess } from "../../src/demo/worker-process.ts";
import { isPostgres } from "../../src/support/postgres.ts";
import { type DeletionScene, setScene as setDeletionScene } from "../helpers/deletion-scene.ts";
import { dispatchesOf } from "../helpers/dispatches.ts";
import { type HttpProxy, startHttpProxy } from "../helpers/http-proxy.ts";
import { effectsOnce, type JobScene, type JobUnderTest, jobs } from "../helpers/job-scene.ts";
import { follow } from "../helpers/protocol.ts";
import { linesWith, partitionsOf, type Scene, skipWithoutHttp, until, within } from "../helpers/scene.ts";
import { startSilentBrokerProxy } from "../helpers/silent-broker-proxy.ts";

/** `tasks.retry_timeout` of the embedded server and in docker-compose.yml. */
const RETRY_TIMEOUT_MS = 5000;
const LEASE_MS = 3000;
/** At work at the moment of a loss. */
const RECORDS = 8;

const silentBroker = async ({ kafka, resources }: Scene) => {
  const admin = kafka.admin();
  await admin.connect();
  const proxy = resources.use(await startSilentBrokerProxy(admin));
  await admin.disconnect();
  return proxy;
};

/** Whether each record has so many batches in the ledger. */
const allAt = async (scene: DeletionScene, ids: readonly string[], batches: number) =>
  (await Promise.all(ids.map((id) => scene.batchesOf(id)))).every((own) => own === batches);

const median = (numbers: readonly number[]) =>
  numbers.toSorted((a, b) => a - b)[Math.floor((numbers.length - 1) / 2)] ?? Number.NaN;

/** Resolves with each id of `ids` and when a worker other than `lost` was first given its execution. */
const watchTakeovers = (scene: Scene, lost: string, ids: readonly string[]): Map<string, number> => {
  const taken = new Map<string, number>();
  follow(scene.proxy, {
    after: ({ request, recordId }, status) => {
      if (request.kind !== "task.acquire" || status !== 200 || request.data.pid === lost) return;
      if (ids.includes(recordId) && !taken.has(recordId)) taken.set(recordId, performance.now());
    },
  });
  return taken;
};

/** Each effect took place once, whether or not it was asked for again, and all completions of an id are one. */
const assertDone = async (job: JobUnderTest, scene: JobScene, ids: readonly string[]) => {
  for (const id of ids) {
    assert.deepEqual(
      (await scene.effectsOf(id)).map(({ key }) => key),
      effectsOnce(job, id).map(({ key }) => key),
    );
    assert.equal(
      new Set(scene.completionsOf(id).map(({ headers }) => String(headers?.["idempotency-key"]))).size,
      1,
    );
  }
  assert.equal(scene.deadLetters.length, 0);
};

interface LossOptions {
  readonly job: JobUnderTest;
  /** Makes the worker vanish. */
  readonly lose: (worker: WorkerProcess, silence: () => void) => Promise<void>;
}

/** Loses one of three workers in the middle of eight steps, and asserts that all goes on at the others. */
const loseHost = async (t: TestContext, { job, lose }: LossOptions) => {
  const scene = await job.setScene(t, {
    LEASE_TTL_MS: String(LEASE_MS),
    [job.pause]: "1000",
    MAX_IN_FLIGHT: String(RECORDS),
  });
  // The lost worker has a way of its own to server and broker.
  const desk = scene.resources.use(await startProxy(scene.proxy.url));
  const http = scene.resources.use(await startSilentUrlProxy(desk.url));
  const broker = await silentBroker(scene);
  // Executions in Postgres share statements: the first one that is held holds what comes after it, too.
  const areTogether = isPostgres(scene.proxy.url);
  const begun = new Set<string>();
  const held = new Set<string>();
  follow(desk, {
    before: ({ step, recordId }) => {
      if (step?.phase === "begin") begun.add(recordId);
      if (step?.phase !== "end" || (areTogether && begun.size < RECORDS)) return;
      held.add(recordId);
      return new Promise(() => {});
    },
  });
  const lost = await scene.startWorker({ RESONATE_URL: http.url, KAFKA_BROKERS: broker.brokers });
  const name = await lost.ready;
  const ids = await Promise.all(Array.from({ length: RECORDS }, () => scene.seedOne()));
  await until("all of them in the middle of a step", () =>
    areTogether ? held.size > 0 : held.size === RECORDS,
  );

  const others = await Promise.all([scene.startWorker(), scene.startWorker()]);
  const taken = watchTakeovers(scene, name, ids);
  assert.equal(taken.size, 0, "nobody had taken them before");
  const lostAt = performance.now();
  await lose(lost, () => {
    http.fallSilent();
    broker.fallSilent();
  });
  const later = await Promise.all(Array.from({ length: 16 }, () => scene.seedOne()));

  await until("each taken over", () => taken.size === ids.length, 45_000);
  const waits = [...taken.values()].map((at) => Math.round(at - lostAt));
  t.diagnostic(`taken over after ${waits.toSorted((a, b) => a - b).join(", ")} ms`);
  assert.ok(median(waits) <= LEASE_MS + 2 * RETRY_TIMEOUT_MS, `median ${median(waits)} ms`);
  // Of three heartbeats a lease, two may have been late on a busy machine.
  assert.ok(Math.min(...waits) > LEASE_MS / 4, `not before the lease was over: ${Math.min(...waits)} ms`);

  // More than the others have room for at once: what ends elsewhere frees it.
  await until(
    "all completions",
    () => [...ids, ...later].every((id) => scene.completionsOf(id).length > 0),
    90_000,
  );
  t.diagnostic(`all done after ${Math.round(performance.now() - lostAt)} ms`);
  await assertDone(job, scene, [...ids, ...later]);
  for (const other of others) assert.ok(other.kill("SIGTERM"), "the others live");
};

/** What may become of a worker's stream of events while its requests pass. */
const streamFaults: readonly {
  readonly what: string;
  strike(proxy: HttpProxy): void;
  readonly line: RegExp;
}[] = [
  {
    what: "goes silent",
    strike: ({ streams }) => {
      for (const { worker, server } of streams) {
        server.unpipe(worker);
        server.resume();
      }
    },
    line: /no event for \d+ s: opening another stream/,
  },
  {
    what: "loses the server's half",
    strike: ({ streams }) => {
      for (const { worker, server } of streams) {
        server.unpipe(worker);
        server.destroy();
      }
    },
    line: /no event for \d+ s: opening another stream/,
  },
  {
    what: "is accepted and never answered",
    strike: (proxy) => {
      const { poll } = proxy;
      proxy.poll = () => {
        proxy.poll = poll;
      };
      for (const { worker } of proxy.streams) worker.destroy();
    },
    line: /no executions arrive.*got no answer/,
  },
  {
    what: "is opened and brings nothing",
    strike: (proxy) => {
      const { poll } = proxy;
      proxy.poll = (response) => {
        proxy.poll = poll;
        response.writeHead(200, { "content-type": "text/event-stream" }).flushHeaders();
      };
      for (const { worker } of proxy.streams) worker.destroy();
    },
    line: /no event for \d+ s: opening another stream/,
  },
];

/** What may keep one worker alone from the server. */
const cuts: readonly {
  readonly what: string;
  begin(t: TestContext, scene: Scene): Promise<{ url: string; cut(): void; restore(): void }>;
}[] = [
  {
    what: "a firewall",
    begin: async (_t, { proxy, resources }) => {
      const silent = resources.use(await startSilentUrlProxy(proxy.url));
      return { url: silent.url, cut: silent.fallSilent, restore: silent.recover };
    },
  },
  {
    what: "an expired token",
    begin: async (_t, { proxy, resources }) => {
      const gate = resources.use(await startHttpProxy(proxy.url));
      const { answer, poll } = gate;
      return {
        url: gate.url,
        cut: () => {
          gate.answer = async () => ({ status: 401, body: "the token has expired" });
          gate.poll = (response) => void response.writeHead(401).end("the token has expired");
          for (const { worker } of gate.streams) worker.destroy();
        },
        restore: () => Object.assign(gate, { answer, poll }),
      };
    },
  },
];

const joinsOf = (worker: WorkerProcess) => linesWith(worker, "joined consumer group").length;

suite("lost host", { concurrency: 5, timeout: 240_000 }, () => {
  for (const job of jobs) {
    test(`mode 27: a worker's host vanishes with its connections open: all goes on at the others (${job.name})`, (t) =>
      loseHost(t, {
        job,
        lose: async (worker, silence) => {
          silence();
          worker.kill("SIGKILL");
          await worker.exited;
        },
      }));
    test(`mode 27: a worker is frozen with its connections open: all goes on at the others (${job.name})`, (t) =>
      loseHost(t, { job, lose: async (worker) => void worker.kill("SIGSTOP") }));
  }

  for (const { what, strike, line } of streamFaults) {
    test(`mode 28: a worker's stream of events ${what} while its requests pass: it is noticed, and executions go on`, {
      skip: skipWithoutHttp,
    }, async (t) => {
      const scene = await setDeletionScene(t, { BATCH_PAUSE_MS: "3000" });
      const proxy = scene.resources.use(await startHttpProxy(scene.proxy.url));
      const worker = await scene.startWorker({ RESONATE_URL: proxy.url });
      const ids = await Promise.all(Array.from({ length: 5 }, () => scene.seed({ batches: 3 })));
      await until("each to sleep", async () => await allAt(scene, ids, 1));
      const [struck] = proxy.streams;
      assert.ok(struck !== undefined);
      const before = worker.lines.length;
      strike(proxy);
      const struckAt = performance.now();
      const noticed = () => worker.lines.slice(before).filter((own) => line.test(own));
      await until("the worker's line", () => noticed().length > 0, 30_000);
      t.diagnostic(`noticed after ${Math.round(performance.now() - struckAt)} ms: ${noticed()[0]}`);
      await until("all completions", () => ids.every((id) => scene.completionsOf(id).length > 0), 45_000);
      t.diagnostic(`all done after ${Math.round(performance.now() - struckAt)} ms`);
      for (const id of ids) {
        assert.deepEqual(
          (await scene.entriesOf(id)).map(({ batch, repeats }) => [batch, repeats]),
          [0, 1, 2].map((batch) => [batch, 0]),
        );
        assert.equal(scene.completionsOf(id).length, 1);
      }
      assert.ok(!proxy.streams.includes(struck), "the stream that was struck is left");
      assert.equal(noticed().length, 1, "told once");
    });
  }

  for (const { what, begin } of cuts) {
    test(`mode 51: one worker alone is kept from the server by ${what}: the others have its partitions, and it joins again`, {
      skip: what === "an expired token" && skipWithoutHttp,
    }, async (t) => {
      const scene = await setDeletionScene(t);
      const way = await begin(t, scene);
      const [cutOff, other] = await Promise.all([
        scene.startWorker({ RESONATE_URL: way.url }),
        scene.startWorker(),
      ]);
      await until("each worker to own one partition", () =>
        [cutOff, other].every((worker) => partitionsOf(worker).length === 1),
      );
      const [partition = 0] = partitionsOf(cutOff);
      way.cut();
      const cutAt = performance.now();
      const ids = await Promise.all(Array.from({ length: 10 }, () => scene.seed({ batches: 1, partition })));
      await until("the other worker to have both partitions", () => partitionsOf(other).length === 2);
      const movedMs = performance.now() - cutAt;
      t.diagnostic(`the other worker has both partitions after ${Math.round(movedMs)} ms`);
      assert.ok(movedMs > 25_000, "not at the first trouble");
      assert.equal(linesWith(cutOff, "leaving consumer group").length, 1);
      await until("all completions", () => ids.every((id) => scene.completionsOf(id).length > 0));
      for (const id of ids) assert.equal(scene.completionsOf(id).length, 1);
      assert.equal(scene.deadLetters.length, 0);

      way.restore();
      const restoredAt = performance.now();
      // kafkajs may join once more while it leaves: what counts comes after the worker's own word.
      await until("the worker to join again", () => {
        const at = cutOff.lines.findIndex((line) => line.includes("joining the consumer group"));
        const joined = cutOff.lines.findLastIndex((line) => line.includes("joined consumer group"));
        return at >= 0 && joined > at && partitionsOf(cutOff).length === 1;
      });
      t.diagnostic(`it has joined again after ${Math.round(performance.now() - restoredAt)} ms`);
      const [own = 0] = partitionsOf(cutOff);
      const last = await scene.seed({ batches: 1, partition: own });
      await until("its completion", () => scene.completionsOf(last).length > 0);
      assert.equal(dispatchesOf(cutOff, last).length, 1, "the worker takes messages again");
    });
  }

  test("mode 51: all are kept from the server: nothing is committed, nobody ends, and all take messages again", async (t) => {
    const scene = await setDeletionScene(t);
    const workers = await Promise.all([scene.startWorker(), scene.startWorker()]);
    await until("each worker to own one partition", () =>
      workers.every((worker) => partitionsOf(worker).length === 1),
    );
    const first = await scene.seed({ batches: 1 });
    await until("a first completion", () => scene.completionsOf(first).length > 0);
    await until("its commit", async () => (await scene.committed()) === 1);
    await scene.proxy.close();
    const ids = await Promise.all(
      Array.from({ length: 10 }, (_, i) => scene.seed({ batches: 1, partition: i % 2 })),
    );
    await until("all to leave the group", () =>
      workers.every((worker) => linesWith(worker, "leaving consumer group").length === 1),
    );
    const joins = workers.map(joinsOf);
    assert.equal(await scene.committed(), 1, "nothing was committed meanwhile");
    await scene.proxy.open();
    const openedAt = performance.now();
    await until(
      "all to take messages again",
      () =>
        workers.every((worker, i) => joinsOf(worker) > (joins[i] ?? 0)) &&
        ids.every((id) => workers.some((worker) => dispatchesOf(worker, id).length > 0)),
    );
    const backMs = performance.now() - openedAt;
    t.diagnostic(`all take messages again after ${Math.round(backMs)} ms`);
    assert.ok(backMs <= 10_000, `after ${Math.round(backMs)} ms`);
    await until("all completions", () => ids.every((id) => scene.completionsOf(id).length > 0));
    for (const id of ids)
      assert.deepEqual(
        (await scene.entriesOf(id)).map(({ repeats }) => repeats),
        [0],
      );
    await until("all commits", async () => (await scene.committed()) === 11);
    for (const worker of workers) worker.kill("SIGTERM");
    assert.deepEqual(await Promise.all(workers.map(({ exited }) => within("its end", exited))), [0, 0]);
  });

  test("mode 52: one worker alone loses the broker: its executions that need it end at one that has it, those asleep are not touched", async (t) => {
    const scene = await setDeletionScene(t, {
      BATCH_PAUSE_MS: "40000",
      LEASE_TTL_MS: String(LEASE_MS),
      // What is handed back in an outage has not killed its worker.
      STEP_MAX_TAKEOVERS: "2",
    });
    const broker = await silentBroker(scene);
    const cutOff = await scene.startWorker({ KAFKA_BROKERS: broker.brokers });
    const name = await cutOff.ready;
    const asleep = await Promise.all(Array.from({ length: 3 }, () => scene.seed({ batches: 2 })));
    await until("three to be asleep", () => allAt(scene, asleep, 1));
    const ids = Array.from({ length: 4 }, () => `record-${randomUUID()}`);
    await scene.records.addRows(new Map(ids.map((id) => [id, scene.settings.BATCH_SIZE])));
    const begun = new Set<string>();
    follow(scene.proxy, {
      after: ({ step, recordId }) => {
        if (step?.name === "deleteBatch" && step.phase === "begin") begun.add(recordId);
      },
    });
    // Their batches wait for the row store, and after them comes the step that needs the broker.
    using lock = new DatabaseSync(scene.settings.RECORDS_DB, { timeout: 5000 });
    lock.exec("BEGIN IMMEDIATE");
    await scene.produce(...ids.map((id) => ({ key: id, value: JSON.stringify(id) })));
    await until("all before their last step", () => ids.every((id) => begun.has(id)));
    const other = await scene.startWorker();
    const touched: string[] = [];
    const released = new Set<string>();
    follow(scene.proxy, {
      after: ({ request, recordId }) => {
        if (request.kind === "task.acquire" && asleep.includes(recordId)) touched.push(recordId);
        if (request.kind === "task.release" && ids.includes(recordId)) released.add(recordId);
      },
    });
    broker.fallSilent();
    lock.exec("COMMIT");
    const cutAt = performance.now();
    await until("all completions", () => ids.every((id) => scene.completionsOf(id).length > 0));
    t.diagnostic(`all done after ${Math.round(performance.now() - cutAt)} ms`);
    assert.ok(broker.lost > 0, "the worker spoke to a broker that did not hear it");
    assert.equal(released.size, ids.length, "each was handed back");
    for (const id of ids) {
      const [completion, ...more] = scene.completionsOf(id);
      assert.ok(completion !== undefined && more.length === 0);
      assert.deepEqual(
        (await scene.entriesOf(id)).map(({ worker, repeats }) => [worker, repeats]),
        [[name, 0]],
      );
    }
    assert.equal(scene.deadLetters.length, 0);
    assert.deepEqual(touched, [], "nobody took those asleep");
    for (const worker of [cutOff, other]) assert.ok(worker.kill("SIGTERM"), "it lives");
  });
});
