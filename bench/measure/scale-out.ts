import { availableParallelism } from "node:os";
import { setTimeout } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { watchTopic } from "../../src/demo/watch-topic.ts";
import type { LogLine } from "../../src/support/log-line.ts";
import { openLab, until } from "../lab.ts";
import type { Measurement, Run } from "../measurement.ts";
import { format, formatSpread, spreadOf } from "../statistics.ts";

const WORKERS = [1, 2, 4];
const BOUNDS = new Map([
  [2, 1.8],
  [4, 3.2],
]);
const STEP_MS = 20;
/** Workers under one parent (`--workers`), whose steps compute: as many as there are cores finish more than one does. */
const CORES = {
  workers: [1, 2],
  bound: 1.5,
  job: fileURLToPath(new URL("../jobs/computing.ts", import.meta.url)),
};
const PARTITIONS = 8;
const WARM_UP_MS = 2500;
const WINDOW_MS = 7000;
const REPETITIONS = 3;
/** More than can be done in the time: no worker runs dry. */
const RECORDS_PER_WORKER = 1000;

/** Whether each of the workers that logged these lines has its share of the partitions. */
const areShared = (log: readonly LogLine[], workers: number): boolean => {
  const last = new Map<unknown, number>();
  for (const { pid, partitions } of log) if (Array.isArray(partitions)) last.set(pid, partitions.length);
  return last.size === workers && [...last.values()].every((count) => count === PARTITIONS / workers);
};

const measureRate = async (
  workers: number,
  { windowMs, signal, isComputing }: { windowMs: number; signal: AbortSignal; isComputing: boolean },
): Promise<number> => {
  await using lab = await openLab({
    settings: {
      TOPIC_PARTITIONS: String(PARTITIONS),
      SIMULATED_LATENCY_MS: String(isComputing ? 0 : STEP_MS),
      // One step at a time, so that the steps are the bottleneck, and not the machine.
      STEP_CONCURRENCY: "1",
      MAX_IN_FLIGHT: "20",
    },
  });
  const started = isComputing
    ? [await lab.startWorker({ args: [CORES.job, "--workers", String(workers)] })]
    : await Promise.all(Array.from({ length: workers }, () => lab.startWorker()));
  await until(
    "the partitions to be shared out",
    () =>
      areShared(
        started.flatMap(({ log }) => log),
        workers,
      ),
    { signal },
  );
  await using completed = await watchTopic(lab.kafka, lab.settings.TOPIC_COMPLETIONS);
  for (let partition = 0; partition < PARTITIONS; partition++) {
    await lab.seed((RECORDS_PER_WORKER * workers) / PARTITIONS, { partition });
  }
  await until("the first completion", () => completed.messages.length > 0, { signal });
  await setTimeout(WARM_UP_MS, undefined, { signal });
  const [before, began] = [completed.messages.length, performance.now()];
  await setTimeout(windowMs, undefined, { signal });
  return ((completed.messages.length - before) * 1000) / (performance.now() - began);
};

const run = async ({ quick, signal, onProgress }: Run) => {
  const repetitions = quick ? 1 : REPETITIONS;
  const windowMs = WINDOW_MS / (quick ? 3 : 1);
  const cases = [
    ...WORKERS.map((workers) => ({ workers, isComputing: false })),
    ...CORES.workers.map((workers) => ({ workers, isComputing: true })),
  ].map((own) => ({ ...own, rates: [] as number[] }));
  let done = 0;
  for (let repetition = 0; repetition < repetitions; repetition++) {
    for (const { workers, isComputing, rates } of cases) {
      onProgress(done++ / (repetitions * cases.length), `${workers} workers`);
      rates.push(await measureRate(workers, { windowMs, signal, isComputing }));
    }
  }
  const spread = (workers: number, isComputing = false) =>
    spreadOf(cases.find((own) => own.workers === workers && own.isComputing === isComputing)?.rates ?? []);
  const ratio = (workers: number, isComputing = false) =>
    spread(workers, isComputing).median / spread(1, isComputing).median;
  const seen = (workers: number, isComputing = false) =>
    `${format(ratio(workers, isComputing))} times: ${formatSpread(spread(workers, isComputing))} against ${formatSpread(spread(1, isComputing))}`;
  return {
    findings: [
      ...[...BOUNDS].map(([workers, bound]) => ({
        claim: `${workers} workers finish ${bound} times as many records a second as one`,
        holds: ratio(workers) >= bound,
        seen: seen(workers),
      })),
      {
        claim: `--workers 2 finishes ${CORES.bound} times as many records a second as 1, where steps compute, on ${availableParallelism()} cores`,
        holds: ratio(2, true) >= CORES.bound,
        seen: seen(2, true),
      },
    ],
    notes: [],
    tables: [
      {
        head: ["workers", "records finished /s", "times one"],
        rows: cases.map(({ workers, isComputing }) => [
          isComputing ? `${workers}, steps compute` : workers,
          formatSpread(spread(workers, isComputing)),
          format(ratio(workers, isComputing)),
        ]),
      },
    ],
    plots: [],
    samples: cases,
  };
};

export const scaleOut: Measurement = {
  name: "scale-out",
  title: "Scale out",
  method: `Records of one batch finished per second, from completions in their topic over ${WINDOW_MS / 1000} s, after ${WARM_UP_MS / 1000} s of warm-up, with 1, 2 and 4 worker processes on ${PARTITIONS} partitions. A step takes ${STEP_MS} ms and each worker runs one at a time (STEP_CONCURRENCY=1), so that steps are the bottleneck and not this machine's processors. Then with \`--workers\` 1 and 2 and steps that compute for some 20 ms of a core; broker and server take their share of the same cores.`,
  seconds: 180,
  run,
};
