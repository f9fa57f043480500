import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout } from "node:timers/promises";
import { styleText } from "node:util";
import { parseConfig } from "../config.ts";
import { createKafka } from "../kafka.ts";
import { silentLog } from "../log.ts";
import { type LedgerEntry, openRecords } from "../records.ts";
import { type SeededRecord, seed } from "../seed.ts";
import { startStack } from "../stack/stack.ts";
import { watchRunningSteps } from "./running-steps.ts";
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
const PROGRESS_MS = 1000;

/**
 * The recovery demo: two workers on an embedded stack of its own, of which the leading one is killed with SIGKILL
 * while it has steps in flight. Everything it makes is gone when it returns.
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
  const config = parseConfig(settings);
  const records = opened.use(openRecords(config.RECORDS_DB, { worker: "demo" }));
  const kafka = createKafka(config, { clientId: "demo", log: silentLog });

  print(`Broker at ${stack.kafkaBrokers}, Resonate server at ${stack.resonateUrl}; starting two workers …`);
  const workers = [0, 1].map(() => opened.use(spawnWorker(settings, { cwd: folder })));
  const names = await Promise.all(workers.map((worker) => worker.ready));
  const label = (name: string) => `worker ${String.fromCharCode(65 + names.indexOf(name))}`;
  workers.forEach(({ pid }, i) => {
    print(`${label(names[i] ?? "")} is process ${pid}`);
  });

  const seeded: SeededRecord[] = [];
  for await (const record of seed({ config, kafka, count, random: Math.random })) seeded.push(record);
  const batches = seeded.reduce((sum, { rows }) => sum + Math.ceil(rows / config.BATCH_SIZE), 0);
  print(`Seeded ${count} records, ${batches} batches of ${config.BATCH_SIZE} rows`);
  const completed = opened.use(await watchTopic(kafka, config.TOPIC_DELETED));
  const completedIds = () => completed.messages.map((message) => toCompletion(message).recordId);

  let nextProgress = 0;
  const until = async <T>(what: string, condition: () => T | undefined | false): Promise<T> => {
    for (;;) {
      const result = condition();
      if (result !== undefined && result !== false) return result;
      if (Date.now() >= nextProgress) {
        nextProgress = Date.now() + PROGRESS_MS;
        const ledger = records.ledger();
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

  // In the moment in which the leader begins a step, so that one is cut for certain.
  let kill: Kill | undefined;
  steps.onBegun = ({ worker }) => {
    const ledger = records.ledger();
    const share = (name: string) => ledger.filter((entry) => entry.worker === name).length;
    const [leader] = names.toSorted((a, b) => share(b) - share(a));
    if (kill || ledger.length < batches / 2 || worker !== leader) return;
    workers[names.indexOf(leader)]?.kill("SIGKILL");
    const cut = new Set(steps.at(leader).map(({ recordId }) => recordId));
    kill = { leader, cut, at: Date.now(), batchesBefore: ledger.length };
  };
  const { leader, cut, at, batchesBefore } = await until(
    "the leading worker to begin a step, half-way",
    () => kill,
  );
  print(styleText("bold", `kill -9 ${label(leader)}, which leads, with ${cut.size} steps in flight`));

  await until("every record to be completed", () => {
    const ids = new Set(completedIds());
    return seeded.every(({ recordId }) => ids.has(recordId));
  });

  const after = records.ledger().slice(batchesBefore);
  const findings = [
    ...judge({ seeded, records, completions: completed.messages.map(toCompletion) }),
    describeTakeover({ after, cut, killedAt: at, survivor: names.find((name) => name !== leader) ?? "" }),
  ];
  printFindings(findings, print);
  print(`       ${describeOrder(seeded, completedIds())}`);
  print(`       ${((Date.now() - started) / 1000).toFixed(1)} s in all`);
  return findings.every(({ holds }) => holds);
};

interface Kill {
  readonly leader: string;
  /** Records that had a step in flight at it. */
  readonly cut: ReadonlySet<string>;
  readonly at: number;
  readonly batchesBefore: number;
}

interface Takeover {
  /** Batches applied after the kill. */
  readonly after: readonly LedgerEntry[];
  /** Records that had a step in flight at the dead worker. */
  readonly cut: ReadonlySet<string>;
  readonly killedAt: number;
  readonly survivor: string;
}

/** A lease ends at most so long after the kill; then the server's scan and the first batch take their time. */
const TAKEOVER_LIMIT_MS = LEASE_TTL_MS + 3000;

const describeTakeover = ({ after, cut, killedAt, survivor }: Takeover): Finding => {
  const first = after.find(({ worker, recordId }) => worker === survivor && cut.has(recordId));
  const ms = first ? first.appliedAt - killedAt : Number.POSITIVE_INFINITY;
  return {
    claim: "the survivor went on where the dead worker stopped",
    holds: ms <= TAKEOVER_LIMIT_MS,
    seen: `first step of its ${cut.size} cut records ran again ${(ms / 1000).toFixed(1)} s after the kill (lease ${LEASE_TTL_MS / 1000} s)`,
  };
};

const describeOrder = (seeded: readonly SeededRecord[], completed: readonly string[]): string => {
  const place = new Map([...new Set(completed)].map((recordId, i) => [recordId, i]));
  const places = seeded.map(({ recordId }) => place.get(recordId) ?? Number.POSITIVE_INFINITY);
  const overtook = places.filter((own, i) => places.slice(0, i).some((earlier) => earlier > own)).length;
  return `order: ${overtook} of ${seeded.length} records were done before one that had arrived ahead of them`;
};
