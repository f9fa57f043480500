import assert from "node:assert/strict";
import { monitorEventLoopDelay } from "node:perf_hooks";
import { suite, test } from "node:test";
import { setTimeout } from "node:timers/promises";
import { isRequest } from "@resonatehq/sdk";
import { createResonateServer } from "../../src/stack/resonate-server.ts";
import { setScene } from "../helpers/deletion-scene.ts";
import { startForgetfulProxy } from "../helpers/forgetful-proxy.ts";
import { startHttpProxy } from "../helpers/http-proxy.ts";
import { effectsOnce, jobs } from "../helpers/job-scene.ts";
import { follow } from "../helpers/protocol.ts";
import { linesWith, skipWithoutHttp, until } from "../helpers/scene.ts";

const { RESONATE_URL = "" } = process.env;
const keepsState = RESONATE_URL !== "" && "only the embedded server can be replaced by an empty one";

/** How long the slow server takes to answer. */
const SLOW_MS = 600;
/** Connections that a worker opens for its requests: MAX_CONNECTIONS of src/resonate/http-send.ts. */
const CONNECTIONS = 128;
/** MEASURE_RECORDS=1000 measures what the table in the README says; fewer will do to see a lease that is lost. */
const SLOW_RECORDS = Number(process.env.MEASURE_RECORDS ?? 200);
/** Of what is possible. With few records the first and the last second weigh more. */
const LEAST_SHARE = SLOW_RECORDS < 1000 ? 0.5 : 0.7;

suite("slow server", { skip: skipWithoutHttp, concurrency: 2, timeout: 240_000 }, () => {
  test("mode 35: a server that answers late costs no lease, and little else than its time", async (t) => {
    const scene = await setScene(t, { LEASE_TTL_MS: "3000" });
    const slow = scene.resources.use(await startHttpProxy(scene.embedded?.url ?? RESONATE_URL));
    const ids = new Set(
      Array.from({ length: SLOW_RECORDS }, (_, i) => `slow-${i}-${scene.env.KAFKA_GROUP_ID}`),
    );
    const taken: string[] = [];
    const refused: number[] = [];
    let requests = 0;
    let answered = 0;
    let answeringMs = 0;
    let heartbeats = 0;
    let awake = 0;
    let mostAwake = 0;
    let begunAt = Number.POSITIVE_INFINITY;
    slow.answer = async (body, forward) => {
      const arrivedAt = performance.now();
      const answer = await forward();
      const request: unknown = JSON.parse(body);
      assert.ok(isRequest(request));
      const { kind, data } = request;
      if (kind === "task.heartbeat") heartbeats += 1;
      if (kind === "task.create" && ids.has(data.action.data.id)) {
        begunAt = Math.min(begunAt, arrivedAt);
        awake += 1;
        mostAwake = Math.max(mostAwake, awake);
      }
      if (kind === "task.fulfill") awake -= 1;
      if (kind === "task.create" || kind === "task.fence" || kind === "task.fulfill") {
        requests += 1;
        if (answer.status !== 200) refused.push(answer.status);
      }
      // These records do not sleep: one that is handed out had lost its lease.
      if (kind === "task.acquire" && ids.has(data.id)) taken.push(data.id);
      await setTimeout(Math.max(1, SLOW_MS - (performance.now() - arrivedAt)));
      if (kind !== "task.heartbeat") {
        answered += 1;
        answeringMs += performance.now() - arrivedAt;
      }
      return answer;
    };
    const turns = monitorEventLoopDelay();
    turns.enable();
    await scene.records.addRows(new Map([...ids].map((id) => [id, scene.settings.BATCH_SIZE])));
    await scene.produce(...[...ids].map((id) => ({ key: id, value: id })));
    const worker = await scene.startWorker({ RESONATE_URL: slow.url });
    await until("all completions", () => scene.completions.length >= ids.size, 180_000);
    const ms = performance.now() - begunAt;
    const meanMs = answeringMs / answered;
    // Either the connections are the bound, or the starts: those come one after the other, and the last record is done
    // after all of its requests.
    const least = Math.max(
      (requests * meanMs) / CONNECTIONS,
      (ids.size / scene.settings.DISPATCH_CONCURRENCY + requests / ids.size) * meanMs,
    );
    const share = least / ms;
    t.diagnostic(
      `${ids.size} records, ${mostAwake} awake at most, ${requests} requests, ${heartbeats} heartbeats in ${Math.round(ms)} ms, each answered in ${Math.round(meanMs)} ms: ${Math.round(share * 100)} % of what ${CONNECTIONS} connections allow; the proxy was held up by ${Math.round(turns.max / 1e6)} ms at most`,
    );
    assert.deepEqual([taken, refused], [[], []], "no lease was lost");
    assert.ok(heartbeats > 0);
    assert.deepEqual(
      (await scene.records.ledger()).filter(({ repeats }) => repeats > 0),
      [],
    );
    assert.equal(linesWith(worker, "a request to the server failed").length, 0);
    assert.ok(share >= LEAST_SHARE, `${share}`);
  });

  for (const job of jobs) {
    test(`mode 37: the server comes back without its state: what was begun here is begun again (${job.name})`, {
      skip: keepsState,
    }, async (t) => {
      const scene = await job.setScene(t, { [job.pause]: "3000", MAX_IN_FLIGHT: "5" });
      const worker = await scene.startWorker();
      const created: string[] = [];
      follow(scene.proxy, {
        after: ({ request, recordId }, status) => {
          if (request.kind === "task.create" && status === 200) created.push(recordId);
        },
      });
      const ids = await Promise.all(Array.from({ length: 10 }, () => scene.seedOne()));
      await until("as many to sleep as there is room for", async () => {
        const effects = await Promise.all(ids.map((id) => scene.effectsOf(id)));
        return effects.filter(({ length }) => length === 1).length === 5 && created.length === 5;
      });
      const begun = [...created];
      const { embedded } = scene;
      assert.ok(embedded !== undefined);
      await embedded.server.stop();
      const empty = scene.resources.use(createResonateServer());
      await empty.listen({ port: Number(new URL(embedded.url).port) });
      const replacedAt = performance.now();

      await until("the executions to be begun again", () => created.length >= 10);
      t.diagnostic(`begun again after ${Math.round(performance.now() - replacedAt)} ms`);
      await until("all completions", () => ids.every((id) => scene.completionsOf(id).length > 0));
      assert.deepEqual(created.slice(5, 10).toSorted(), begun.toSorted());
      for (const id of ids) {
        assert.deepEqual(
          (await scene.effectsOf(id)).map(({ key }) => key),
          effectsOnce(job, id).map(({ key }) => key),
        );
        assert.equal(scene.completionsOf(id).length, 1);
      }
      const lines = linesWith(worker, "has lost its state");
      assert.equal(lines.length, 1, lines.join("; "));
      assert.match(lines[0] ?? "", /: 5 executions that this worker had begun were begun again/);
      await until("all commits", async () => (await scene.committed()) === ids.length);
    });
  }

  test("mode 39: idle connections are closed unseen: no request is lost", async (t) => {
    const scene = await setScene(t, { BATCH_PAUSE_MS: "2500", LEASE_TTL_MS: "3000" });
    const balancer = scene.resources.use(await startForgetfulProxy(scene.proxy.url, 1000));
    const worker = await scene.startWorker({ RESONATE_URL: balancer.url });
    const ids = await Promise.all(Array.from({ length: 10 }, () => scene.seed({ batches: 3 })));
    await until("all completions", () => ids.every((id) => scene.completionsOf(id).length > 0));
    t.diagnostic(`${balancer.resets} requests met a connection that was closed`);
    assert.ok(balancer.resets >= 5, `${balancer.resets} resets`);
    assert.deepEqual(linesWith(worker, "a request to the server failed"), []);
    for (const id of ids) {
      assert.deepEqual(
        (await scene.entriesOf(id)).map(({ batch, repeats }) => [batch, repeats]),
        [0, 1, 2].map((batch) => [batch, 0]),
      );
    }
  });

  test("mode 40: a clock that is off by minutes is told at the start, and when it changes", async (t) => {
    const scene = await setScene(t);
    let aheadMs = 180_000;
    let shifted = 0;
    const shifter = scene.resources.use(await startHttpProxy(scene.proxy.url));
    shifter.answer = async (_, forward) => {
      const { status, body } = await forward();
      const shift = (_match: string, at: string) => {
        shifted += 1;
        return `"createdAt":${Number(at) + aheadMs}`;
      };
      return { status, body: body.replaceAll(/"createdAt":(\d+)/g, shift) };
    };
    const worker = await scene.startWorker({ RESONATE_URL: shifter.url });
    const warnings = () => linesWith(worker, "the Resonate server's clock");
    const complete = async () => {
      const id = await scene.seed({ batches: 1 });
      await until("a completion", () => scene.completionsOf(id).length > 0);
    };
    await until("the warning at the start", () => warnings().length === 1);
    assert.match(warnings()[0] ?? "", /clock is (179|180)\.\d s ahead of this machine's/);
    aheadMs += 1000;
    await complete();
    assert.equal(warnings().length, 1, "a small change is not told");
    aheadMs = -120_000;
    await complete();
    await until("the warning of the change", () => warnings().length === 2);
    assert.match(warnings()[1] ?? "", /clock is (119|120|121)\.\d s behind this machine's/);
    aheadMs = 0;
    await complete();
    await until("the end of it", () => warnings().length === 3);
    assert.match(warnings()[2] ?? "", /agrees with this machine's again/);
    assert.ok(shifted > 3, "answers were shifted");
  });
});
