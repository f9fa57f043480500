import { setTimeout } from "node:timers/promises";
import type { Finding } from "../../src/demo/verdict.ts";
import { watchTopic } from "../../src/demo/watch-topic.ts";
import { createRandom } from "../../src/support/random.ts";
import { openLab } from "../lab.ts";
import type { Measurement, Run } from "../measurement.ts";
import { findParts, PARTS, type Part } from "../parts.ts";
import { treeCpuSecondsOf } from "../proc.ts";
import { format, formatSpread, spreadOf } from "../statistics.ts";

const RECORDS = 1000;
const WARM_UP = 200;
const REPETITIONS = 3;
const SLEEP_MS = 200;
const LONE_RECORDS = 10;
const MAX_LONE_MS = 1100;

/** What the measured jobs may cost: processor milliseconds a record, and the least records a second. */
interface Bounds {
  readonly worker: number;
  /** Of worker, engine and its database together, by what keeps the executions. */
  readonly inAll: Readonly<Record<string, number>>;
  readonly perSecond: Readonly<Record<string, number>>;
}

/** Records of one batch and of five, with a sleep between two batches, and a completion. */
const JOBS: readonly { name: string; batches: number; bounds: Bounds }[] = [
  {
    name: "one step",
    batches: 1,
    bounds: { worker: 0.9, inAll: { server: 3, postgres: 2.6 }, perSecond: { postgres: 700 } },
  },
  {
    name: "five steps, four sleeps",
    batches: 5,
    bounds: { worker: 2.5, inAll: { postgres: 7 }, perSecond: { postgres: 250 } },
  },
];

interface Sample {
  readonly perSecond: number;
  /** Processor milliseconds a record. */
  readonly ms: Readonly<Partial<Record<Part, number>>>;
}

const measureOnce = async (batches: number, { quick, signal }: Run): Promise<Sample> => {
  const count = RECORDS / (quick ? 20 : 1);
  const warmUp = WARM_UP / (quick ? 20 : 1);
  await using lab = await openLab({ settings: { BATCH_PAUSE_MS: String(SLEEP_MS) } });
  const worker = await lab.startWorker();
  await lab.seed(warmUp, { batches });
  await lab.untilCompleted(warmUp, signal);
  const { RESONATE_URL: resonateUrl, KAFKA_BROKERS } = lab.settings;
  const parts = findParts(worker.pid, { resonateUrl, broker: KAFKA_BROKERS[0] ?? "" });
  const cpu = () => new Map([...parts].map(([part, pid]) => [part, treeCpuSecondsOf(pid)]));

  const before = cpu();
  const began = performance.now();
  await lab.seed(count, { batches });
  await lab.untilCompleted(warmUp + count, signal);
  const seconds = (performance.now() - began) / 1000;
  const ms = [...cpu()].map(([part, own]) => [part, (1000 * (own - (before.get(part) ?? 0))) / count]);
  return { perSecond: count / seconds, ms: Object.fromEntries(ms) };
};

/** Times from producing a lone record of five batches to its completion, in milliseconds. */
const measureLone = async ({ quick, signal }: Run): Promise<number[]> => {
  const random = createRandom(1);
  await using lab = await openLab({ settings: { BATCH_PAUSE_MS: String(SLEEP_MS) } });
  await lab.startWorker();
  await using completed = await watchTopic(lab.kafka, lab.settings.TOPIC_COMPLETIONS);
  const times: number[] = [];
  // The first one is a warm-up.
  for (let i = 0; i <= LONE_RECORDS / (quick ? 5 : 1); i++) {
    // A server looks at its timers in intervals: the records are spread over them.
    await setTimeout(random() * 1000, undefined, { signal });
    const began = performance.now();
    await lab.seed(1, { batches: 5 });
    while (completed.messages.length <= i) await setTimeout(1, undefined, { signal });
    times.push(performance.now() - began);
  }
  return times.slice(1);
};

const engineKind = (): string => {
  const { KAFKA_BROKERS, RESONATE_URL } = process.env;
  if (!KAFKA_BROKERS || !RESONATE_URL) return "embedded";
  return RESONATE_URL.startsWith("postgres") ? "postgres" : "server";
};

const judge = (job: (typeof JOBS)[number], samples: readonly Sample[]): Finding[] => {
  const kind = engineKind();
  const { name, bounds } = job;
  const worker = spreadOf(samples.map(({ ms }) => ms.worker ?? Number.NaN));
  const findings = [
    {
      claim: `${name}: at most ${bounds.worker} ms of the worker a record`,
      holds: worker.median <= bounds.worker,
      seen: formatSpread(worker, " ms"),
    },
  ];
  const [most, least] = [bounds.inAll[kind], bounds.perSecond[kind]];
  if (most !== undefined) {
    const inAll = spreadOf(
      samples.map(({ ms: { worker = 0, engine = Number.NaN, database = 0 } }) => worker + engine + database),
    );
    findings.push({
      claim: `${name}: at most ${most} ms a record of worker, engine and database together`,
      holds: inAll.median <= most,
      seen: formatSpread(inAll, " ms"),
    });
  }
  if (least !== undefined) {
    const perSecond = spreadOf(samples.map((sample) => sample.perSecond));
    findings.push({
      claim: `${name}: at least ${least} records a second`,
      holds: perSecond.median >= least,
      seen: formatSpread(perSecond),
    });
  }
  return findings;
};

const run = async (options: Run) => {
  const { quick, onProgress } = options;
  const repetitions = quick ? 1 : REPETITIONS;
  const measured = JOBS.map((job) => ({ job, samples: [] as Sample[] }));
  // The jobs take turns, so that a slow moment of the machine is not one job's alone.
  for (let i = 0; i < repetitions; i++) {
    for (const [turn, { job, samples }] of measured.entries()) {
      onProgress((0.8 * (i + turn / JOBS.length)) / repetitions, `${job.name}, run ${i + 1}`);
      samples.push(await measureOnce(job.batches, options));
    }
  }
  onProgress(0.8, "lone records");
  const lone = await measureLone(options);
  const loneSpread = spreadOf(lone);

  const cell = (samples: readonly Sample[], part: Part) => {
    const values = samples.map(({ ms }) => ms[part]).filter((value) => value !== undefined);
    return values.length === 0 ? "–" : formatSpread(spreadOf(values));
  };
  return {
    findings: [
      ...measured.flatMap(({ job, samples }) => judge(job, samples)),
      {
        claim: `a lone record of five steps and four sleeps of ${SLEEP_MS} ms is done within ${MAX_LONE_MS} ms`,
        holds: loneSpread.median <= MAX_LONE_MS,
        seen: `${formatSpread(loneSpread, " ms")} in ${loneSpread.n}`,
      },
    ],
    notes: [
      "The embedded broker and server are one process, counted as the engine; the server searches its state linearly. The row store is in the worker's process.",
    ],
    tables: [
      {
        head: ["a record of", "records/s", ...PARTS.map((part) => `${part}, ms`)],
        rows: measured.map(({ job, samples }) => [
          job.name,
          formatSpread(spreadOf(samples.map(({ perSecond }) => perSecond))),
          ...PARTS.map((part) => cell(samples, part)),
        ]),
      },
      {
        head: ["", "median, ms", "all, ms"],
        rows: [
          [
            "a lone record of five steps",
            format(loneSpread.median),
            `${format(loneSpread.min)}–${format(loneSpread.max)}`,
          ],
        ],
      },
    ],
    plots: [],
    samples: { measured, lone },
  };
};

export const cost: Measurement = {
  name: "cost",
  title: "Cost of a record",
  method: `Processor time a record, from /proc/<pid>/stat, and records finished a second: ${RECORDS} records are produced at once after a warm-up of ${WARM_UP}, on one worker process. A record is one batch of ten rows and a completion, or five batches with sleeps of ${SLEEP_MS} ms between them and a completion. Median of ${REPETITIONS} runs, which take turns. The engine is what listens at RESONATE_URL, the database what listens at BENCH_DATABASE_PORT, each with its descendants. A lone record is timed from its message to its completion, ${LONE_RECORDS} times.`,
  seconds: 120,
  run,
};
