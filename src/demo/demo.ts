import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout } from "node:timers/promises";
import { job } from "../jobs/deletion/job.ts";
import { openRecords } from "../jobs/deletion/open-records.ts";
import type { SeededRecord } from "../jobs/deletion/seed.ts";
import { createKafka } from "../kafka/client.ts";
import { startStack } from "../stack/stack.ts";
import { silentLog } from "../support/log.ts";
import { tellDeed } from "../timeline/event-line.ts";
import { openEventTail } from "../timeline/event-tail.ts";
import { createTimeline, type Timeline, workerLabel } from "../timeline/timeline.ts";
import { seed } from "../worker/seed.ts";
import { parseJobSettings } from "../worker/settings.ts";
import type { DemoState, DemoView } from "./demo-view.ts";
import { armKills, judgeKill, type KillPoint } from "./kills.ts";
import { startResonateProxy } from "./resonate-proxy.ts";
import { watchRunningSteps } from "./running-steps.ts";
import { judge, printFindings, toCompletion } from "./verdict.ts";
import { watchTopic } from "./watch-topic.ts";
import { spawnWorker } from "./worker-process.ts";

export interface DemoOptions {
  /** Records to seed. */
  readonly count: number;
  /** One kill for each, in this order. */
  readonly kills: readonly KillPoint[];
  readonly view: DemoView;
  /** One call a line, below the view. */
  readonly print: (line: string) => void;
  /** Told of all that was seen, once it is over. */
  readonly onTimeline: (timeline: Timeline) => Promise<void>;
  readonly signal: AbortSignal;
}

const LEASE_TTL_MS = 3000;
/** A lease ends at most so long after the kill; then the server's scan takes its time. */
const TAKEOVER_LIMIT_MS = LEASE_TTL_MS + 3000;
/** What is not done by then is a failure. */
const deadlineMs = (count: number) => 60_000 + Math.max(0, count - 25) * 100;
const POLL_MS = 100;
const ENDING_MS = 2000;

/** The batch that a step's idempotency key names: the number of the call. */
const batchOf = (key: string) => key.slice(key.lastIndexOf("/") + 1);

/** As much of a record id as tells 500 of them apart. */
const shortOf = (id: string) => id.slice(0, 8);

/**
 * The recovery demo: two workers on an embedded stack of its own, of which the leading one is killed with SIGKILL at
 * each of `kills`; another one takes its place while more kills follow. Everything it makes is gone when it returns.
 *
 * @returns whether all that was promised was seen to hold
 * @throws the reason of `signal` when it is aborted
 */
export const runDemo = async (options: DemoOptions): Promise<boolean> => {
  const { count, view, print, signal } = options;
  await using opened = new AsyncDisposableStack();
  const startedAt = Date.now();
  const deadline = AbortSignal.any([signal, AbortSignal.timeout(deadlineMs(count))]);
  const steps = watchRunningSteps();
  const stack = opened.use(await startStack({ kafkaPort: 0, resonatePort: 0 }));
  const proxy = opened.use(await startResonateProxy(stack.resonateUrl));
  proxy.onAnswer = steps.onAnswer;
  const folder = await mkdtemp(join(tmpdir(), "recovery-demo-"));
  opened.defer(() => rm(folder, { recursive: true, force: true }));
  const settings = {
    KAFKA_BROKERS: stack.kafkaBrokers,
    RESONATE_URL: proxy.url,
    RECORDS_DB: join(folder, "records.db"),
    EVENTS_FILE: join(folder, "events"),
    LEASE_TTL_MS: String(LEASE_TTL_MS),
    BATCH_PAUSE_MS: "300",
    SIMULATED_LATENCY_MS: "150",
    SIMULATED_FAILURE_RATE: "0.15",
    RETRY_DELAY_MS: "150",
  };
  const config = parseJobSettings(job, settings);
  const records = opened.use(await openRecords(config.RECORDS_DB, { worker: "demo" }));
  const kafka = createKafka(config, { clientId: "demo", log: silentLog });
  const events = opened.use(openEventTail(config.EVENTS_FILE));
  const timeline = createTimeline();
  // A view that was left half-drawn would hide what is printed next.
  opened.defer(() => view.end());

  view.note(`Broker at ${stack.kafkaBrokers}, Resonate server at ${stack.resonateUrl}`);
  view.note("Starting two workers …");
  const pids: number[] = [];
  const start = () => {
    const worker = opened.use(spawnWorker(settings, { cwd: folder }));
    pids.push(worker.pid);
    tellDeed(config.EVENTS_FILE, { event: "worker.spawned", pid: worker.pid });
    view.note(`${workerLabel(pids.length - 1)} is process ${worker.pid}`);
    return worker;
  };
  const workers = [start(), start()];
  const numberOf = (name: string) => pids.indexOf(Number.parseInt(name, 10));
  await Promise.all(workers.map((worker) => worker.ready));

  const kills = armKills({
    points: options.kills,
    steps,
    records,
    isTakenOver: ({ target, at }) => timeline.takeovers.some((one) => one.key === target.key && one.at >= at),
    onKill: ({ worker, target, point }) => {
      const number = numberOf(worker);
      workers[number]?.kill("SIGKILL");
      tellDeed(config.EVENTS_FILE, { event: "worker.struck", pid: pids[number] ?? 0, kind: "SIGKILL" });
      const batch = `batch ${batchOf(target.key)} of ${shortOf(target.recordId)}`;
      const when =
        point === "begin" ? "has begun, nothing is deleted" : "is deleted, its checkpoint is not written";
      view.note(`kill -9 ${workerLabel(number)}: ${batch} ${when}`, true);
      // A demo that ends meanwhile would leave its process behind.
      if (kills.struck.length < options.kills.length && !opened.disposed) workers.push(start());
    },
  });
  proxy.onRequest = kills.onRequest;

  const seeded: SeededRecord[] = [];
  for await (const record of seed({ job, settings: config, kafka, count, random: Math.random }))
    seeded.push(record);
  const planned = seeded.map(({ key, rows }) => ({ id: key, batches: Math.ceil(rows / config.BATCH_SIZE) }));
  kills.total = planned.reduce((sum, { batches }) => sum + batches, 0);
  view.note(`Seeded ${count} records, ${kills.total} batches of ${config.BATCH_SIZE} rows`);
  const completed = opened.use(await watchTopic(kafka, config.TOPIC_COMPLETIONS));
  const completedIds = () => completed.messages.map((message) => toCompletion(message).recordId);

  const look = async (): Promise<DemoState> => {
    const seen = timeline.takeovers.length;
    for (const event of events.read()) timeline.add(event);
    for (const { id, from, by, key, gapMs } of timeline.takeovers.slice(seen)) {
      const after = `${(gapMs / 1000).toFixed(1)} s after the kill`;
      view.note(
        `${workerLabel(by)} took over ${shortOf(id)} from ${workerLabel(from)} at batch ${batchOf(key)}, ${after}`,
      );
    }
    const ledger = await records.ledger();
    return {
      timeline,
      records: planned,
      count,
      done: new Set(completedIds()).size,
      applied: pids.map((_, number) => ledger.filter(({ worker }) => numberOf(worker) === number).length),
      startedAt,
      leaseMs: LEASE_TTL_MS,
    };
  };
  const until = async (what: string, condition: (state: DemoState) => boolean) => {
    for (;;) {
      const state = await look();
      view.refresh(state);
      if (condition(state)) return;
      await setTimeout(POLL_MS, undefined, { signal: deadline }).catch(() => {
        signal.throwIfAborted();
        throw new Error(`expected ${what} within ${deadlineMs(count) / 1000} s of the start, got none`);
      });
    }
  };
  await until("a worker to be killed at each point", () => kills.struck.length === options.kills.length);
  let completedAt = Number.POSITIVE_INFINITY;
  await until("every record to be completed", ({ done }) => {
    if (done === count) completedAt = Math.min(completedAt, Date.now());
    // The end of an execution is seen soon after its completion, but for one whose worker was killed in between.
    return Date.now() - completedAt > (timeline.isOver ? 0 : ENDING_MS);
  });

  const ledger = await records.ledger();
  const limits = { leaseMs: LEASE_TTL_MS, limitMs: TAKEOVER_LIMIT_MS };
  const findings = [
    ...(await judge({ seeded, records, completions: completed.messages.map(toCompletion), steps })),
    ...kills.struck.map((kill) => judgeKill(kill, timeline.takeovers, ledger, limits)),
  ];
  view.end();
  printFindings(findings, print);
  print(`       ${describeOrder(seeded, completedIds())}`);
  print(`       ${((Date.now() - startedAt) / 1000).toFixed(1)} s in all`);
  await options.onTimeline(timeline);
  return findings.every(({ holds }) => holds);
};

const describeOrder = (seeded: readonly SeededRecord[], completed: readonly string[]): string => {
  const place = new Map([...new Set(completed)].map((recordId, i) => [recordId, i]));
  const places = seeded.map(({ key }) => place.get(key) ?? Number.POSITIVE_INFINITY);
  const overtook = places.filter((own, i) => places.slice(0, i).some((earlier) => earlier > own)).length;
  return `order: ${overtook} of ${seeded.length} records were done before one that had arrived ahead of them`;
};
