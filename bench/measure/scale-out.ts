import { setTimeout } from "node:timers/promises";
import { watchTopic } from "../../src/demo/watch-topic.ts";
import { openLab, until } from "../lab.ts";
import type { Measurement, Run } from "../measurement.ts";
import { format, formatSpread, spreadOf } from "../statistics.ts";

const WORKERS = [1, 2, 4];
const BOUNDS = new Map([
  [2, 1.8],
  [4, 3.2],
]);
const STEP_MS = 20;
const PARTITIONS = 8;
const WARM_UP_MS = 2500;
const WINDOW_MS = 7000;
const REPETITIONS = 3;
/** More than can be done in the time: no worker runs dry. */
const RECORDS_PER_WORKER = 1000;

const measureRate = async (workers: number, windowMs: number, signal: AbortSignal): Promise<number> => {
  await using lab = await openLab({
    settings: {
      TOPIC_PARTITIONS: String(PARTITIONS),
      SIMULATED_LATENCY_MS: String(STEP_MS),
      // One step at a time, so that the steps are the bottleneck, and not the machine.
      STEP_CONCURRENCY: "1",
      MAX_IN_FLIGHT: "20",
    },
  });
  const started = await Promise.all(Array.from({ length: workers }, () => lab.startWorker()));
  const share = new RegExp(`partitions of \\S+: \\d+(, \\d+){${PARTITIONS / workers - 1}}$`);
  await until(
    "the partitions to be shared out",
    () => started.every(({ lines }) => share.test(lines.findLast((line) => line.includes("joined")) ?? "")),
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
  const rates = new Map(WORKERS.map((n) => [n, [] as number[]]));
  let done = 0;
  for (let repetition = 0; repetition < repetitions; repetition++) {
    for (const [workers, own] of rates) {
      onProgress(done++ / (repetitions * WORKERS.length), `${workers} workers`);
      own.push(await measureRate(workers, WINDOW_MS / (quick ? 3 : 1), signal));
    }
  }
  const spread = (workers: number) => spreadOf(rates.get(workers) ?? []);
  const ratio = (workers: number) => spread(workers).median / spread(1).median;
  return {
    findings: [...BOUNDS].map(([workers, bound]) => ({
      claim: `${workers} workers finish ${bound} times as many records a second as one`,
      holds: ratio(workers) >= bound,
      seen: `${format(ratio(workers))} times: ${formatSpread(spread(workers))} against ${formatSpread(spread(1))}`,
    })),
    notes: [],
    tables: [
      {
        head: ["workers", "records finished /s", "times one"],
        rows: WORKERS.map((workers) => [workers, formatSpread(spread(workers)), format(ratio(workers))]),
      },
    ],
    plots: [],
    samples: Object.fromEntries(rates),
  };
};

export const scaleOut: Measurement = {
  name: "scale-out",
  title: "Scale out",
  method: `Records of one batch finished per second, from completions in their topic over ${WINDOW_MS / 1000} s, after ${WARM_UP_MS / 1000} s of warm-up, with 1, 2 and 4 worker processes on ${PARTITIONS} partitions. A step takes ${STEP_MS} ms and each worker runs one at a time (STEP_CONCURRENCY=1), so that steps are the bottleneck and not this machine's processors.`,
  seconds: 105,
  run,
};
