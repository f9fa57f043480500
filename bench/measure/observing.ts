import { setTimeout } from "node:timers/promises";
import type { WorkerProcess } from "../../src/demo/worker-process.ts";
import { openLab } from "../lab.ts";
import type { Measurement, Run } from "../measurement.ts";
import { cpuSecondsOf } from "../proc.ts";
import { UNOBSERVED } from "../processes.ts";
import { format, formatSpread, spreadOf } from "../statistics.ts";

const RECORDS = 600;
/** Before the count begins: what is done for the first time costs many times more. */
const WARM_UP = 150;
const BATCHES = 3;
const REPETITIONS = 5;
const MAX_PERCENT = 3;
/** As the Prometheus of this project. */
const SCRAPE_MS = 5000;

const CONTESTANTS = ["off", "log", "log and metrics"] as const;
type Contestant = (typeof CONTESTANTS)[number];

/** Reads a worker's metrics every few seconds until `ended`. */
const scrape = async ({ lines }: WorkerProcess, ended: AbortSignal): Promise<void> => {
  const url = lines.map((line) => /metrics at (\S+),/.exec(line)?.[1]).find((own) => own !== undefined);
  if (url === undefined) throw new Error("expected a worker that serves its metrics");
  while (!ended.aborted) {
    await (await fetch(url)).text();
    await setTimeout(SCRAPE_MS, undefined, { signal: ended }).catch(() => {});
  }
};

/** Milliseconds of a worker's processor time per record. */
const measureOnce = async (contestant: Contestant, count: number, signal: AbortSignal): Promise<number> => {
  await using lab = await openLab({ settings: { BATCH_PAUSE_MS: "100" } });
  const worker = await lab.startWorker({
    settings: { HTTP_PORT: contestant === "log and metrics" ? "0" : "" },
    ...(contestant === "off" ? { entry: UNOBSERVED } : {}),
  });
  const ended = new AbortController();
  const scraping = contestant === "log and metrics" ? scrape(worker, ended.signal) : undefined;
  await lab.seed(WARM_UP, { batches: BATCHES });
  await lab.untilCompleted(WARM_UP, signal);
  const before = cpuSecondsOf(worker.pid);
  await lab.seed(count, { batches: BATCHES });
  await lab.untilCompleted(WARM_UP + count, signal);
  const seconds = cpuSecondsOf(worker.pid) - before;
  ended.abort();
  await scraping;
  return (seconds * 1000) / count;
};

const run = async ({ quick, signal, onProgress }: Run) => {
  const repetitions = quick ? 1 : REPETITIONS;
  const count = RECORDS / (quick ? 10 : 1);
  const samples: Record<Contestant, number[]> = { off: [], log: [], "log and metrics": [] };
  // They take turns, each first in turn, so that a slow moment of the machine is nobody's alone.
  for (let i = 0; i < repetitions; i++) {
    for (let turn = 0; turn < CONTESTANTS.length; turn++) {
      const contestant = CONTESTANTS[(i + turn) % CONTESTANTS.length] ?? "off";
      onProgress((i + turn / CONTESTANTS.length) / repetitions, contestant);
      samples[contestant].push(await measureOnce(contestant, count, signal));
    }
  }
  const spreads = CONTESTANTS.map((name) => ({ name, spread: spreadOf(samples[name]) }));
  const median = (name: Contestant) => spreadOf(samples[name]).median;
  const percent = (name: Contestant, base: Contestant) => 100 * (median(name) / median(base) - 1);
  const all = percent("log and metrics", "off");
  return {
    findings: [
      {
        claim: `log and metrics take at most ${MAX_PERCENT} % of a record's processor time`,
        holds: all <= MAX_PERCENT,
        seen: `${format(all)} %, of which ${format(percent("log and metrics", "log"))} % metrics`,
      },
    ],
    notes: [],
    tables: [
      {
        head: ["worker", "processor time per record, ms", "more than off"],
        rows: spreads.map(({ name, spread }) => [
          name,
          formatSpread(spread),
          `${format(percent(name, "off"))} %`,
        ]),
      },
    ],
    plots: [],
    samples,
  };
};

export const observing: Measurement = {
  name: "observing",
  title: "Log and metrics",
  method: `Processor time of one worker process per record of ${BATCHES} batches, ${RECORDS} records a run behind ${WARM_UP} that are not counted, median of ${REPETITIONS} runs: as it is started by npm start, with metrics that are read every ${SCRAPE_MS / 1000} s, and with neither. The contestants take turns.`,
  seconds: 200,
  run,
};
