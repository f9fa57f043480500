import { mkdtempDisposable } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout } from "node:timers/promises";
import { styleText } from "node:util";
import type { Message } from "kafkajs";
import { job } from "../jobs/deletion/job.ts";
import { openRecords } from "../jobs/deletion/open-records.ts";
import { randomRows } from "../jobs/deletion/seed.ts";
import { createKafka } from "../kafka/client.ts";
import { createProducer } from "../kafka/producer.ts";
import { ensureTopics } from "../kafka/topics.ts";
import { startStack } from "../stack/stack.ts";
import { silentLog } from "../support/log.ts";
import { createRandom } from "../support/random.ts";
import { retryUntilDone } from "../support/retry.ts";
import { parseJobSettings } from "../worker/settings.ts";
import { BAD_VALUES } from "./bad-values.ts";
import { createDisturbances } from "./disturbances.ts";
import type { StackAddress } from "./external-stack.ts";
import { createFaults } from "./faults.ts";
import type { Namespaces } from "./namespaces.ts";
import { startNeighbour } from "./neighbour.ts";
import { watchRunningSteps } from "./running-steps.ts";
import { startProxy } from "./start-proxy.ts";
import { type Finding, judge, judgeRepeats, judgeStops, printFindings, toCompletion } from "./verdict.ts";
import { watchTopic } from "./watch-topic.ts";
import { onThisHost } from "./worker-host.ts";

export interface SoakOptions {
  /** Good records; one bad message in fifty comes on top. */
  readonly records: number;
  readonly workers: number;
  /** Faults of worker processes: SIGKILL, SIGTERM and SIGSTOP together. */
  readonly kills: number;
  /** Repeats the same rows and the same schedule of faults; what a fault meets still depends on timing. */
  readonly seed: number;
  /** A real broker and server; the embedded ones where absent. */
  readonly external?: StackAddress | undefined;
  /** An empty row store; a SQLite file of the run's own where absent. */
  readonly recordsDb?: string | undefined;
  /** In which each worker runs, its link cut for a silent host; on this host where absent. */
  readonly namespaces?: Namespaces | undefined;
  /** Where events are kept, if anywhere. */
  readonly eventsFile?: string | undefined;
  readonly print: (line: string) => void;
  readonly signal: AbortSignal;
}

/** Records arrive at most so fast, and faults fall at most so fast. */
const RECORDS_PER_SECOND = 40;
const SECONDS_PER_FAULT = 1.5;
const CHUNK_MS = 200;
/** Share of the records that a second service has, too. */
const NEIGHBOUR_SHARE = 0.03;
const PROGRESS_MS = 3000;
/** After the last arrival and fault: the longest time in which nothing more is done. */
const STALL_MS = 120_000;

/**
 * The soak: records arrive while workers are killed, stopped, frozen and cut off, new ones start, connections are cut,
 * the server is slow and the row store locked, all at random, beside a second service. Ends with the demo's verdict and the count of every fault.
 *
 * @returns whether all invariants were seen to hold
 * @throws the reason of `signal` when it is aborted
 */
export const runSoak = async (options: SoakOptions): Promise<boolean> => {
  const { records: count, kills, seed, external, namespaces, print, signal } = options;
  await using opened = new AsyncDisposableStack();
  const random = createRandom(seed);
  const host = namespaces?.address;
  const stack = external ? undefined : opened.use(await startStack({ kafkaPort: 0, resonatePort: 0, host }));
  const proxy = opened.use(await startProxy(external?.resonateUrl ?? stack?.resonateUrl ?? "", host));
  const steps = watchRunningSteps();
  proxy.onAnswer = steps.onAnswer;
  const { path: folder } = opened.use(await mkdtempDisposable(join(tmpdir(), "soak-")));

  const run = `${Date.now()}`;
  const settings = {
    KAFKA_BROKERS: external?.kafkaBrokers ?? stack?.kafkaBrokers ?? "",
    KAFKA_GROUP_ID: `soak-${run}`,
    TOPIC_SOURCE: `soak-${run}.to-delete`,
    TOPIC_COMPLETIONS: `soak-${run}.deleted`,
    TOPIC_DEAD_LETTERS: `soak-${run}.dead-letters`,
    RESONATE_URL: proxy.url,
    RESONATE_GROUP: `soak-${run}`,
    RECORDS_DB: options.recordsDb ?? join(folder, "records.db"),
    EVENTS_FILE: options.eventsFile ?? "",
    LEASE_TTL_MS: "10000",
    SESSION_TIMEOUT_MS: "6000",
    BATCH_PAUSE_MS: "200",
    SIMULATED_FAILURE_RATE: "0.1",
    RETRY_DELAY_MS: "200",
  };
  const config = parseJobSettings(job, settings);
  const kafka = createKafka(config, { clientId: "soak", log: silentLog });
  await ensureTopics(kafka, config);
  const store = opened.use(await openRecords(config.RECORDS_DB, { worker: "soak" }));
  const producer = createProducer(kafka);
  await producer.connect();
  opened.defer(() => producer.disconnect());
  const completed = opened.use(await watchTopic(kafka, config.TOPIC_COMPLETIONS));
  const deadLetters = opened.use(await watchTopic(kafka, config.TOPIC_DEAD_LETTERS));

  const neighbour = opened.use(await startNeighbour({ settings, folder, kafka, producer }));
  const { slowServer, lockStore } = createDisturbances(proxy, config.RECORDS_DB);
  const faults = opened.use(
    await createFaults({
      workers: options.workers,
      settings,
      cwd: folder,
      random: createRandom(seed + 1),
      leaseMs: config.LEASE_TTL_MS,
      openHost: namespaces?.onHostOfItsOwn(proxy.url) ?? onThisHost(proxy.url),
      slowServer,
      lockStore,
      cutConnections: () => proxy.cut() + (stack?.broker.dropConnections() ?? 0),
      steps,
    }),
  );
  print(`Soak of ${count} records on ${options.workers} workers with ${kills} kills, seed ${seed}`);

  const seeded: { key: string; rows: number }[] = [];
  let bad = 0;
  const arrive = async (until: number) => {
    const rows = new Map<string, number>();
    const messages: Message[] = [];
    while (seeded.length < until) {
      const recordId = `soak-${run}-${seeded.length}`;
      rows.set(recordId, randomRows(config.BATCH_SIZE, random));
      seeded.push({ key: recordId, rows: rows.get(recordId) ?? 0 });
      messages.push({ key: recordId, value: JSON.stringify(recordId) });
      if (seeded.length % 50 === 0)
        messages.push({ key: "bad", value: BAD_VALUES[bad++ % BAD_VALUES.length] ?? null });
    }
    // A frozen worker may hold the row store's lock, and only this process thaws it: so it must not block in wait.
    await retryUntilDone(() => store.addRows(rows), { signal, onFailure: () => {} });
    if (messages.length > 0) await producer.send({ topic: config.TOPIC_SOURCE, acks: -1, messages });
    for (const [recordId, own] of rows) {
      if (random() < NEIGHBOUR_SHARE) await neighbour.add(recordId, own);
    }
  };

  const durationMs = 1000 * Math.max(count / RECORDS_PER_SECOND, kills * SECONDS_PER_FAULT);
  const began = Date.now();
  const chance = createRandom(seed + 2);
  const schedule = Array.from({ length: kills }, () => durationMs * chance()).sort((a, b) => a - b);
  const done = () => new Set(completed.messages.map(({ key }) => String(key))).size;
  const buried = () =>
    new Set(
      deadLetters.messages.map(
        ({ headers }) => `${headers?.["dead-letter-partition"]} ${headers?.["dead-letter-offset"]}`,
      ),
    ).size;
  let nextProgress = 0;
  const progress = () => {
    if (Date.now() < nextProgress) return;
    nextProgress = Date.now() + PROGRESS_MS;
    print(
      `${String(done()).padStart(6)} of ${count} records done, ${seeded.length} arrived, faults: ${faults.describe()}`,
    );
  };

  while (seeded.length < count || schedule.length > 0) {
    signal.throwIfAborted();
    const elapsed = Date.now() - began;
    await arrive(Math.min(count, Math.ceil((count * elapsed) / durationMs)));
    while (schedule[0] !== undefined && schedule[0] <= elapsed) {
      // Every worker may be frozen or silent at this moment: the fault waits.
      if (!faults.strike()) break;
      schedule.shift();
    }
    progress();
    await setTimeout(CHUNK_MS);
  }
  await faults.thawAll();
  const missing = () => count - done() + bad - buried() + neighbour.missing();
  let [left, stalledAt] = [missing(), Date.now() + STALL_MS];
  while (left > 0 && Date.now() < stalledAt) {
    signal.throwIfAborted();
    progress();
    await setTimeout(CHUNK_MS);
    if (missing() < left) [left, stalledAt] = [missing(), Date.now() + STALL_MS];
  }
  const ends = await faults.stopAll();
  const completions = completed.messages.map(toCompletion);
  const findings: Finding[] = [
    ...(await judge({ seeded, records: store, completions, steps })),
    judgeRepeats(completions, faults),
    await neighbour.judge(),
    { claim: "every bad message is a dead letter", holds: buried() === bad, seen: `${buried()} of ${bad}` },
    judgeStops(ends),
  ];
  printFindings(findings, print);
  print(`       faults: ${faults.describe()}`);
  print(
    `       ${((Date.now() - began) / 1000).toFixed(1)} s; ${styleText("bold", `--seed ${seed}`)} repeats it`,
  );
  return findings.every(({ holds }) => holds);
};
