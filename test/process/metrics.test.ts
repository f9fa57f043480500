import assert from "node:assert/strict";
import { suite, test } from "node:test";
import type { Request } from "@resonatehq/sdk";
import manifest from "../../package.json" with { type: "json" };
import { watchRunningSteps } from "../../src/demo/running-steps.ts";
import { startProxy } from "../../src/demo/start-proxy.ts";
import { spawnWorker } from "../../src/demo/worker-process.ts";
import { HEADERS } from "../../src/worker/dead-letter.ts";
import { setScene } from "../helpers/deletion-scene.ts";
import { probe, scrape, untilMetrics } from "../helpers/metrics.ts";
import { follow, holdAt, isStep, Lost } from "../helpers/protocol.ts";
import { linesWith, partitionsOf, type Scene, until, within } from "../helpers/scene.ts";

const HOUR_MS = 3_600_000;

/** What is not committed of the source topic, by partition, as the broker has it. */
const lagsOf = async ({ kafka, settings }: Scene): Promise<Map<number, number>> => {
  const admin = kafka.admin();
  await admin.connect();
  try {
    const ends = await admin.fetchTopicOffsets(settings.TOPIC_SOURCE);
    const [group] = await admin.fetchOffsets({
      groupId: settings.KAFKA_GROUP_ID,
      topics: [settings.TOPIC_SOURCE],
    });
    const committed = new Map(group?.partitions.map(({ partition, offset }) => [partition, Number(offset)]));
    return new Map(
      ends.map(({ partition, high }) => [
        partition,
        Number(high) - Math.max(0, committed.get(partition) ?? 0),
      ]),
    );
  } finally {
    await admin.disconnect();
  }
};

/** Counts what passes a proxy, as the server answered it. */
const countRequests = () => {
  const requests: Record<string, number> = {};
  const created = new Map<string, number>();
  const ended = new Map<string, number>();
  /** Leases that the server refused to know, each once: a machine that is busy loses some. */
  const lost = new Set<string>();
  return {
    requests,
    lost,
    created,
    ended,
    onAnswer: (request: Request, status: number) => {
      const labels = `kind="${request.kind}",status="${status}"`;
      requests[labels] = (requests[labels] ?? 0) + 1;
      if (status === 409 && "version" in request.data) lost.add(`${request.data.id} ${request.data.version}`);
      if (status !== 200) return;
      // A repeat is answered with what there was.
      if (request.kind === "task.create") created.getOrInsert(request.data.action.data.id, Date.now());
      if (request.kind === "task.fulfill") ended.set(request.data.id, Date.now());
    },
  };
};

suite("metrics", { concurrency: 3, timeout: 180_000 }, () => {
  test("two workers, one killed in a step: each metric of the survivor says what really happened", async (t) => {
    const scene = await setScene(t, {
      HTTP_PORT: "0",
      SIMULATED_LATENCY_MS: "50",
      SIMULATED_FAILURE_RATE: "0.2",
    });
    const { settings, records } = scene;
    const server = scene.embedded?.url ?? process.env.RESONATE_URL ?? "";
    const proxy = scene.resources.use(await startProxy(server));
    const steps = watchRunningSteps();
    const passed = countRequests();
    const takenOver: string[] = [];
    follow(proxy, {
      after: ({ request }, status) => {
        void steps.onAnswer(request, status);
        passed.onAnswer(request, status);
      },
    });
    const [victim, survivor] = await Promise.all([
      scene.startWorker(),
      scene.startWorker({ RESONATE_URL: proxy.url }),
    ]);
    const [victimName, survivorName] = await Promise.all([victim.ready, survivor.ready]);
    await until("each worker to own one partition", () =>
      [victim, survivor].every((worker) => partitionsOf(worker).length === 1),
    );
    const [own = -1] = partitionsOf(survivor);
    const other = 1 - own;

    const killed = Promise.withResolvers<number>();
    let mayDie = false;
    const countRepeats = async () => (await records.ledger()).reduce((sum, { repeats }) => sum + repeats, 0);
    let repeatsBefore = 0;
    const createdByVictim = new Map<string, number>();
    follow(scene.proxy, {
      before: async (passing) => {
        if (!mayDie || passing.worker !== victimName || !isStep("deleteBatch", "end")(passing)) return;
        mayDie = false;
        // What it has in flight from here on is what it leaves.
        steps.onTakenOver = ({ key, worker }) => {
          if (worker === victimName) takenOver.push(key);
        };
        victim.kill("SIGKILL");
        await victim.exited;
        repeatsBefore = await countRepeats();
        killed.resolve(Date.now());
        throw new Lost("the worker is dead");
      },
      after: ({ request }, status) => {
        if (request.kind === "task.create" && status === 200)
          createdByVictim.set(request.data.action.data.id, Date.now());
        void steps.onAnswer(request, status);
      },
    });
    const ids = await Promise.all(
      Array.from({ length: 8 }, (_, i) => scene.seed({ batches: 20, partition: i % 2 })),
    );
    await until("every message to be committed", async () => (await scene.committed()) === ids.length);
    const before = await untilMetrics(survivor, (samples) => {
      assert.deepEqual(samples.of("messages_received_total"), {
        [`topic="${settings.TOPIC_SOURCE}",partition="${own}"`]: 4,
      });
      assert.deepEqual(Object.keys(samples.of("consumer_lag")), [
        `topic="${settings.TOPIC_SOURCE}",partition="${own}"`,
      ]);
    });
    assert.equal(before.get("executions_taken_over_total"), 0);
    assert.equal(before.get("assigned_partitions"), 1);

    mayDie = true;
    const killedAt = await within("the kill", killed.promise);
    await untilMetrics(survivor, (samples) =>
      assert.ok((samples.get("executions_taken_over_total") ?? 0) > 0, "a takeover"),
    );
    const toldMs = Date.now() - killedAt;
    t.diagnostic(`told ${toldMs} ms after the kill`);
    assert.ok(toldMs <= 5000, `told after ${toldMs} ms`);

    await until("both partitions", () => partitionsOf(survivor).length === 2);
    const late = await scene.seed({ batches: 1, partition: other });
    await scene.produce(
      { key: "bad", value: null, partition: other },
      { key: "bad", value: Buffer.from([0xff]), partition: own },
    );
    await records.addRows(new Map([["old", settings.BATCH_SIZE]]));
    const timestamp = String(Date.now() - HOUR_MS);
    await scene.produce({ key: "old", value: JSON.stringify("old"), partition: own, timestamp });
    const all = [...ids, late, "old"];
    await until("every completion", () => all.every((id) => scene.completionsOf(id).length > 0), 90_000);
    await scene.produce({ key: "old", value: JSON.stringify("old"), partition: own });
    await until("both dead letters", () => scene.deadLetters.length === 2);

    // Requests go on, so it is they that decide when both sides are at one. Heartbeats may be under way at any time.
    const heartbeats = 'kind="task.heartbeat",status="200"';
    const samples = await untilMetrics(survivor, (found) => {
      const requests = found.of("resonate_request_duration_seconds_count");
      const [beats = 0, beaten = 0] = [requests[heartbeats], passed.requests[heartbeats]];
      // What a worker asks of the server for itself does not all pass where requests are counted.
      const ofTasks = (counts: Readonly<Record<string, number>>) =>
        Object.fromEntries(
          Object.entries(counts).filter(
            ([labels]) => labels.startsWith('kind="task.') && labels !== heartbeats,
          ),
        );
      assert.deepEqual(ofTasks(requests), ofTasks(passed.requests));
      assert.ok(beats <= beaten && beats >= beaten - 5, `${beats} heartbeats of ${beaten}`);
      assert.equal(found.get('messages_dispatched_total{outcome="finished"}'), 1);
      // A completion is read before its execution has come to its end.
      assert.equal(found.get("leases_held"), 0);
    });
    const equal = (sample: string, expected: number) =>
      assert.equal(samples.get(sample) ?? 0, expected, sample);
    const between = (sample: string, least: number, most: number) => {
      const value = samples.get(sample) ?? Number.NaN;
      assert.ok(value >= least && value <= most, `${sample}: expected ${least} to ${most}, got ${value}`);
    };
    const topic = `topic="${settings.TOPIC_SOURCE}"`;

    await t.test("messages: what was produced to its partitions, and the dead-letter topic", async () => {
      equal(`messages_received_total{${topic},partition="${own}"}`, 4 + 3);
      equal(`messages_received_total{${topic},partition="${other}"}`, 2);
      equal('messages_dispatched_total{outcome="started"}', passed.created.size);
      equal('messages_dispatched_total{outcome="started"}', 4 + 1 + 1);
      equal('messages_dispatched_total{outcome="finished"}', 1);
      const reasons = Map.groupBy(scene.deadLetters, ({ headers }) => String(headers?.[HEADERS.reason]));
      assert.deepEqual(
        samples.of("dead_letters_total"),
        Object.fromEntries([...reasons].map(([reason, own]) => [`reason="${reason}"`, own.length])),
      );
      equal("dispatch_duration_seconds_count", 4 + 1 + 1 + 1);
      between("dispatch_duration_seconds_sum", 0.001, 60);
      equal("message_age_seconds_count", 4 + 1 + 1);
      between("message_age_seconds_sum", HOUR_MS / 1000, HOUR_MS / 1000 + 60);
      equal('message_age_seconds_bucket{le="900"}', 4 + 1);
    });
    await t.test("partitions: the broker's offsets, and the worker's joins", async () => {
      const lags = [...(await lagsOf(scene))].map(([partition, lag]) => [
        `${topic},partition="${partition}"`,
        lag,
      ]);
      await untilMetrics(survivor, (found) =>
        assert.deepEqual(found.of("consumer_lag"), Object.fromEntries(lags)),
      );
      equal("assigned_partitions", 2);
      equal("rebalances_total", linesWith(survivor, "joined consumer group").length);
      equal("commit_failures_total", 0);
    });
    await t.test("executions: the protocol, the ledger and the completions topic", () => {
      const whole = [...passed.ended].filter(([id]) => !id.includes(":"));
      equal('executions_finished_total{outcome="finished"}', whole.length);
      equal('execution_duration_seconds_count{outcome="finished"}', whole.length);
      const seconds = whole.map(([id, at]) => {
        const createdAt = passed.created.get(id) ?? createdByVictim.get(id) ?? Number.NaN;
        return (at - createdAt) / 1000;
      });
      const sum = seconds.reduce((total, one) => total + one, 0);
      between('execution_duration_seconds_sum{outcome="finished"}', sum - whole.length, sum + whole.length);
      equal("executions_taken_over_total", new Set(takenOver).size);
      assert.equal(linesWith(survivor, `from worker ${victimName} at step`).length, new Set(takenOver).size);
      equal("executions_in_flight", 0);
      equal("oldest_execution_age_seconds", 0);
      equal("executions_limit", settings.MAX_IN_FLIGHT);
      equal("leases_lost_total", passed.lost.size);
    });
    await t.test("steps: the ledger", async () => {
      const ledger = await records.ledger();
      const done = ledger.filter(({ worker }) => worker === survivorName).length;
      const answered = await countRepeats();
      const retried = linesWith(survivor, "failed (attempt").length;
      assert.ok(
        done > 0 && answered > 0 && retried > 0,
        `${done} done, ${answered} answered, ${retried} retried`,
      );
      equal('steps_total{step="deleteBatch",result="done"}', done);
      // Either worker may have made those before the kill, by a lease that a busy machine lost.
      between('steps_total{step="deleteBatch",result="answered"}', answered - repeatsBefore, answered);
      equal('steps_total{step="deleteBatch",result="retried"}', retried);
      const published = linesWith(survivor, `is in ${settings.TOPIC_COMPLETIONS}`).length;
      equal('steps_total{step="enqueueCompletion",result="done"}', published);
      assert.ok(published > 0 && published <= scene.completions.length);
      equal('step_duration_seconds_count{step="deleteBatch",result="done"}', done);
      between('step_duration_seconds_sum{step="deleteBatch",result="done"}', done * 0.05, done * 1);
      equal("steps_running", 0);
      equal("steps_limit", settings.STEP_CONCURRENCY);
      equal("leases_held", 0);
    });
    await t.test("the worker itself", async () => {
      assert.deepEqual(samples.of("info"), {
        [`version="${manifest.version}",group="${settings.KAFKA_GROUP_ID}"`]: 1,
      });
      equal("ready", 1);
      equal("resonate_connected", 1);
      between("clock_skew_seconds", -1, 1);
      const rest = samples.entries().filter(([name]) => !name.startsWith("kafka_worker_"));
      assert.ok(rest.some(([name, value]) => name === "process_cpu_seconds_total" && value > 0));
      for (const id of all)
        assert.ok(!samples.entries().some(([name]) => name.includes(id) && id !== "old"), "no ids in labels");
      assert.deepEqual(await probe(survivor, "healthz"), { status: 200, body: { ok: true, reasons: [] } });
      assert.deepEqual(await probe(survivor, "readyz"), { status: 200, body: { ok: true, reasons: [] } });
    });
  });

  test("a worker at its limits says so, is healthy, and is not ready while it cannot reach the server or stops", async (t) => {
    const scene = await setScene(t, {
      HTTP_PORT: "0",
      MAX_IN_FLIGHT: "3",
      STEP_CONCURRENCY: "1",
      SIMULATED_LATENCY_MS: "4000",
      BATCH_PAUSE_MS: "60000",
      SHUTDOWN_GRACE_MS: "3000",
    });
    const worker = await scene.startWorker();
    const startedAt = Date.now();
    for (let i = 0; i < 8; i++) await scene.seed({ batches: 2, partition: i % 2 });
    await untilMetrics(worker, (samples) => {
      assert.equal(samples.get("executions_in_flight"), 3);
      assert.equal(samples.get("executions_limit"), 3);
      assert.equal(samples.get("steps_running"), 1);
      assert.equal(samples.get("steps_limit"), 1);
      assert.equal(samples.get("leases_held"), 3);
    });
    await untilMetrics(worker, async (samples) => {
      const lags = await lagsOf(scene);
      for (const [partition, lag] of lags)
        assert.equal(
          samples.get(`consumer_lag{topic="${scene.settings.TOPIC_SOURCE}",partition="${partition}"}`),
          lag,
        );
      assert.ok([...lags.values()].reduce((sum, lag) => sum + lag, 0) >= 5);
    });
    await untilMetrics(worker, (samples) => {
      const age = samples.get("oldest_execution_age_seconds") ?? 0;
      assert.ok(age > 2 && age <= (Date.now() - startedAt) / 1000, `the oldest is ${age} s old`);
    });
    // They sleep for a minute after their first batch.
    await untilMetrics(worker, (samples) => {
      assert.equal(samples.get("leases_held"), 0);
      assert.equal(samples.get("steps_running"), 0);
      assert.equal(samples.get("executions_in_flight"), 3);
    });

    await scene.proxy.close();
    const away = await untilMetrics(worker, (samples) => assert.equal(samples.get("resonate_connected"), 0));
    assert.equal(away.get("ready"), 0);
    assert.deepEqual(await probe(worker, "readyz"), {
      status: 503,
      body: { ok: false, reasons: ["the Resonate server does not answer"] },
    });
    assert.equal((await probe(worker, "healthz")).status, 200, "no restart helps");
    await scene.proxy.open();
    await untilMetrics(worker, (samples) => {
      assert.equal(samples.get("resonate_connected"), 1);
      assert.equal(samples.get("ready"), 1);
    });

    const more = await scene.startWorker();
    await until("a partition to go", () => partitionsOf(worker).length === 1);
    await untilMetrics(worker, (samples) =>
      assert.deepEqual(
        Object.keys(samples.of("consumer_lag")),
        partitionsOf(worker).map((own) => `topic="${scene.settings.TOPIC_SOURCE}",partition="${own}"`),
      ),
    );
    await untilMetrics(more, (samples) => assert.ok((samples.get("steps_running") ?? 0) > 0));
    more.kill("SIGTERM");
    await until("the worker that stops to say so", async () => {
      const { status, body } = await probe(more, "readyz");
      return status === 503 && body.reasons.includes("the worker stops");
    });
    assert.equal((await probe(more, "healthz")).status, 200);
    assert.equal(await within("its end", more.exited), 0);
    assert.equal(linesWith(more, "stopped: ").length, 1);
  });

  test("a worker that stood still for longer than its lease counts the leases it lost", async (t) => {
    const scene = await setScene(t, { HTTP_PORT: "0" });
    const worker = await scene.startWorker();
    const name = await worker.ready;
    const held = holdAt(
      scene.proxy,
      (passing) => passing.worker === name && isStep("deleteBatch", "end")(passing),
    );
    const id = await scene.seed({ batches: 1 });
    const { release } = await within("a step", held);
    worker.kill("SIGSTOP");
    const other = await scene.startWorker();
    await until("the completion", () => scene.completionsOf(id).length > 0);
    worker.kill("SIGCONT");
    assert.notEqual(await within("an answer", release()), 200, "the lease is another's");
    await untilMetrics(worker, (samples) => assert.equal(samples.get("leases_lost_total"), 1));
    assert.equal((await scrape(other)).get("leases_lost_total"), 0);
    assert.equal((await scrape(other)).get("executions_taken_over_total"), 1);
  });

  test("a port that is taken is one line, and the end", async (t) => {
    const scene = await setScene(t, { HTTP_PORT: "0" });
    const worker = await scene.startWorker();
    const port = /metrics at http:\/\/[\d.]+:(\d+)/.exec(linesWith(worker, "metrics at")[0] ?? "")?.[1] ?? "";
    const second = scene.resources.use(
      spawnWorker({ ...scene.env, HTTP_PORT: port }, { cwd: scene.folder, args: ["deletion"] }),
    );
    assert.equal(await within("its end", second.exited), 1);
    assert.deepEqual(second.lines, [
      `HTTP_PORT: expected a free port at 127.0.0.1, got port ${port}, which is in use`,
    ]);
  });
});
