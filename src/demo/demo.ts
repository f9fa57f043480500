import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout } from "node:timers/promises";
import { styleText } from "node:util";
import { job } from "../jobs/deletion/job.ts";
import { openRecords } from "../jobs/deletion/open-records.ts";
import type { LedgerEntry } from "../jobs/deletion/records.ts";
import type { SeededRecord } from "../jobs/deletion/seed.ts";
import type { DeletionSteps } from "../jobs/deletion/steps.ts";
import { createKafka } from "../kafka/client.ts";
import { startStack } from "../stack/stack.ts";
import { silentLog } from "../support/log.ts";
import { seed } from "../worker/seed.ts";
import { parseJobSettings } from "../worker/settings.ts";
import { type RunningStep, watchRunningSteps } from "./running-steps.ts";
import { type Finding, judge, printFindings, toCompletion } from "./verdict.ts";
import { watchTopic } from "./watch-topic.ts";
import { spawnWorker } from "./worker-process.ts";

export interface DemoOptions {
  /** Records to seed. */
  readonly count: number;
  /** One call a line. */
  readonly print: (line: string) => void;
  readonly signal: AbortSignal;
}

const LEASE_TTL_MS = 3000;
/** What is not done by then is a failure. */
const deadlineMs = (count: number) => 55_000 + Math.max(0, count - 25) * 100;
const POLL_MS = 100;
const DELETE_BATCH = "deleteBatch" satisfies keyof DeletionSteps;
const PROGRESS_MS = 1000;

/**
 * The recovery demo: two workers on an embedded stack of its own, of which the leading one is killed with SIGKILL
 * as it begins a batch. Everything it makes is gone when it returns.
 *
 * @returns whether all that was promised was seen to hold
 * @throws the reason of `signal` when it is aborted
 */
export const runDemo = async ({ count, print, signal }: DemoOptions): Promise<boolean> => {
  await using opened = new AsyncDisposableStack();
  const started = Date.now();
  const deadline = AbortSignal.any([signal, AbortSignal.timeout(deadlineMs(count))]);
  const steps = watchRunningSteps();
  const stack = opened.use(
    await startStack(
      { kafkaPort: 0, resonatePort: 0 },
      { onExchange: (request, { head }) => steps.onAnswer(request, head.status) },
    ),
  );
  const folder = await mkdtemp(join(tmpdir(), "recovery-demo-"));
  opened.defer(() => rm(folder, { recursive: true, force: true }));
  const settings = {
    KAFKA_BROKERS: stack.kafkaBrokers,
    RESONATE_URL: stack.resonateUrl,
    RECORDS_DB: join(folder, "records.db"),
    LEASE_TTL_MS: String(LEASE_TTL_MS),
    BATCH_PAUSE_MS: "300",
    RETRY_DELAY_MS: "500",
  };
  const config = parseJobSettings(job, settings);
  const records = opened.use(await openRecords(config.RECORDS_DB, { worker: "demo" }));
  const kafka = createKafka(config, { clientId: "demo", log: silentLog });

  print(`Broker at ${stack.kafkaBrokers}, Resonate server at ${stack.resonateUrl}; starting two workers …`);
  const workers = [0, 1].map(() => opened.use(spawnWorker(settings, { cwd: folder })));
  const names = await Promise.all(workers.map((worker) => worker.ready));
  const label = (name: string) => `worker ${String.fromCharCode(65 + names.indexOf(name))}`;
  workers.forEach(({ pid }, i) => {
    print(`${label(names[i] ?? "")} is process ${pid}`);
  });

  // Armed before the first record is there: so few may follow that they are done while the rest is set up.
  let batches = Number.POSITIVE_INFINITY;
  let kill: Kill | undefined;
  let goesOnAt = Number.POSITIVE_INFINITY;
  steps.onBegun = async ({ worker, name }) => {
    // Only a batch: killed before it hears that its step exists, its worker cannot have applied it.
    if (kill || name !== DELETE_BATCH) return;
    const ledger = await records.ledger();
    if (kill) return;
    const own = ledger.filter((entry) => entry.worker === worker).length;
    const leads = own >= ledger.length / 2;
    // The one that leads, half-way; if that one has nothing left to do, the other one later.
    if (ledger.length < Math.floor(batches * (leads ? 0.5 : 0.75))) return;
    workers[names.indexOf(worker)]?.kill("SIGKILL");
    kill = { worker, own, of: ledger.length, cut: steps.at(worker), at: Date.now() };
  };
  steps.onTakenOver = ({ worker, stepId }) => {
    if (kill?.worker === worker && kill.cut.some((step) => step.stepId === stepId)) {
      goesOnAt = Math.min(goesOnAt, Date.now());
    }
  };

  const seeded: SeededRecord[] = [];
  for await (const record of seed({ job, settings: config, kafka, count, random: Math.random }))
    seeded.push(record);
  batches = seeded.reduce((sum, { rows }) => sum + Math.ceil(rows / config.BATCH_SIZE), 0);
  print(`Seeded ${count} records, ${batches} batches of ${config.BATCH_SIZE} rows`);
  const completed = opened.use(await watchTopic(kafka, config.TOPIC_COMPLETIONS));
  const completedIds = () => completed.messages.map((message) => toCompletion(message).recordId);

  let nextProgress = 0;
  const until = async <T>(what: string, condition: () => T | undefined | false): Promise<T> => {
    for (;;) {
      const result = condition();
      if (result !== undefined && result !== false) return result;
      if (Date.now() >= nextProgress) {
        nextProgress = Date.now() + PROGRESS_MS;
        const ledger = await records.ledger();
        const shares = names.map(
          (name) => `${label(name)} ${ledger.filter((e) => e.worker === name).length}`,
        );
        const done = new Set(completedIds()).size;
        print(`${String(done).padStart(4)} of ${count} records done, batches: ${shares.join(", ")}`);
      }
      await setTimeout(POLL_MS, undefined, { signal: deadline }).catch(() => {
        signal.throwIfAborted();
        throw new Error(`expected ${what} within ${deadlineMs(count) / 1000} s of the start, got none`);
      });
    }
  };

  const struck = await until("a worker to begin a batch, half-way", () => kill);
  print(
    styleText(
      "bold",
      `kill -9 ${label(struck.worker)}, which did ${struck.own} of ${struck.of} batches, with ${struck.cut.length} steps in flight`,
    ),
  );

  await until("every record to be completed", () => {
    const ids = new Set(completedIds());
    return seeded.every(({ key }) => ids.has(key));
  });

  const findings = [
    ...(await judge({ seeded, records, completions: completed.messages.map(toCompletion), steps })),
    describeTakeover(struck, goesOnAt, await records.ledger()),
  ];
  printFindings(findings, print);
  print(`       ${describeOrder(seeded, completedIds())}`);
  print(`       ${((Date.now() - started) / 1000).toFixed(1)} s in all`);
  return findings.every(({ holds }) => holds);
};

interface Kill {
  readonly worker: string;
  /** Batches that the worker had applied, and all had. */
  readonly own: number;
  readonly of: number;
  /** Its steps that were in flight. */
  readonly cut: readonly RunningStep[];
  readonly at: number;
}

/** A lease ends at most so long after the kill; then the server's scan takes its time. */
const TAKEOVER_LIMIT_MS = LEASE_TTL_MS + 3000;

const describeTakeover = (
  { worker, cut, at }: Kill,
  goesOnAt: number,
  ledger: readonly LedgerEntry[],
): Finding => {
  const ms = goesOnAt - at;
  const batches = cut.filter(({ name }) => name === DELETE_BATCH);
  const finished = batches.filter(({ key }) =>
    ledger.some((entry) => entry.key === key && (entry.worker !== worker || entry.appliedAt <= at)),
  );
  return {
    claim: "the survivor went on where the dead worker stopped",
    holds: ms <= TAKEOVER_LIMIT_MS && batches.length > 0 && finished.length === batches.length,
    seen: `${finished.length} of ${batches.length} cut batches finished, the first cut step ran again ${(ms / 1000).toFixed(1)} s after the kill (lease ${LEASE_TTL_MS / 1000} s)`,
  };
};

const describeOrder = (seeded: readonly SeededRecord[], completed: readonly string[]): string => {
  const place = new Map([...new Set(completed)].map((recordId, i) => [recordId, i]));
  const places = seeded.map(({ key }) => place.get(key) ?? Number.POSITIVE_INFINITY);
  const overtook = places.filter((own, i) => places.slice(0, i).some((earlier) => earlier > own)).length;
  return `order: ${overtook} of ${seeded.length} records were done before one that had arrived ahead of them`;
};
