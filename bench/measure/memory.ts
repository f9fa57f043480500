import { setTimeout } from "node:timers/promises";
import { countLines, openLab, until } from "../lab.ts";
import type { Measurement, Run } from "../measurement.ts";
import { peakMemoryOf } from "../proc.ts";
import { format } from "../statistics.ts";

const BACKLOGS = [1000, 10_000, 30_000, 100_000];
const MAX_IN_FLIGHT = 1000;
const RATIO = 1.2;
const HOLD_MS = 10_000;
const WORK_MS = 15_000;

interface Peak {
  readonly backlog: number;
  readonly peakMib: number;
  readonly dispatched: number;
  readonly finished: number;
}

/** Peak memory of a worker at a backlog: `working`, its executions end at once, else none ends. */
const measurePeak = async (
  backlog: number,
  working: boolean,
  ms: number,
  signal: AbortSignal,
): Promise<Peak> => {
  await using lab = await openLab({
    settings: {
      MAX_IN_FLIGHT: String(MAX_IN_FLIGHT),
      SIMULATED_LATENCY_MS: working ? "0" : "3600000",
    },
  });
  await lab.seed(backlog);
  const worker = await lab.startWorker();
  const dispatched = countLines(worker, "kicked off workflow");
  const finished = countLines(worker, "all rows deleted");
  if (!working) {
    const wanted = Math.min(backlog, MAX_IN_FLIGHT);
    await until("the worker to be full", () => dispatched() >= wanted, { signal });
  }
  await setTimeout(ms, undefined, { signal });
  return { backlog, peakMib: peakMemoryOf(worker.pid), dispatched: dispatched(), finished: finished() };
};

const run = async ({ quick, signal, onProgress }: Run) => {
  const held: Peak[] = [];
  const worked: Peak[] = [];
  const workedBacklogs = [BACKLOGS[1] ?? 0, BACKLOGS[3] ?? 0];
  const total = BACKLOGS.length + workedBacklogs.length;
  for (const backlog of BACKLOGS) {
    onProgress(held.length / total, `backlog of ${backlog}, held`);
    held.push(await measurePeak(backlog, false, HOLD_MS / (quick ? 5 : 1), signal));
  }
  for (const backlog of workedBacklogs) {
    onProgress((held.length + worked.length) / total, `backlog of ${backlog}, worked on`);
    worked.push(await measurePeak(backlog, true, WORK_MS / (quick ? 5 : 1), signal));
  }

  const judge = (peaks: readonly Peak[], what: string) => {
    const at = (wanted: number) => peaks.find(({ backlog }) => backlog === wanted)?.peakMib ?? Number.NaN;
    const ratio = at(100_000) / at(10_000);
    return {
      claim: `peak memory at a backlog of 100,000 is at most ${RATIO} times that at 10,000, ${what}`,
      holds: ratio <= RATIO,
      seen: `${format(ratio)} times: ${format(at(100_000))} MiB against ${format(at(10_000))} MiB`,
    };
  };
  const bound = held.findLast(({ backlog }) => backlog > MAX_IN_FLIGHT);
  const seriesOf = (name: string, peaks: readonly Peak[]) => ({
    name,
    points: peaks.map(({ backlog, peakMib }) => ({ x: backlog, y: peakMib })),
  });
  return {
    findings: [
      judge(held, "while no execution ends"),
      judge(worked, "while executions end all the time"),
      {
        claim: `of a larger backlog a worker takes ${MAX_IN_FLIGHT} and leaves the rest in Kafka`,
        holds: bound?.dispatched === MAX_IN_FLIGHT,
        seen: `${bound?.dispatched} dispatched of ${bound?.backlog}`,
      },
    ],
    notes: [
      "What is measured is that a backlog stays in Kafka. Where executions end, the time is fixed and not the number of records, since the embedded server searches its state linearly and gets slower as it fills.",
    ],
    tables: [
      {
        head: ["backlog", "executions", "peak RSS, MiB", "dispatched", "finished"],
        rows: [
          ...held.map((own) => [
            own.backlog,
            "do not end",
            format(own.peakMib),
            own.dispatched,
            own.finished,
          ]),
          ...worked.map((own) => [
            own.backlog,
            "end at once",
            format(own.peakMib),
            own.dispatched,
            own.finished,
          ]),
        ],
      },
    ],
    plots: [
      {
        file: "memory",
        title: "Peak memory of a worker",
        x: { label: "backlog in Kafka, records", log: true, ticks: BACKLOGS },
        y: { label: "peak RSS, MiB" },
        series: [
          seriesOf("executions that do not end", held),
          seriesOf("executions that end at once", worked),
        ],
      },
    ],
    samples: { held, worked },
  };
};

export const memory: Measurement = {
  name: "memory",
  title: "Memory",
  method: `Peak resident memory (VmHWM) of one worker process with MAX_IN_FLIGHT=${MAX_IN_FLIGHT}, backlog produced beforehand: ${HOLD_MS / 1000} s with its ${MAX_IN_FLIGHT} executions in flight, none of which ends, and ${WORK_MS / 1000} s of executions of one batch that end at once.`,
  seconds: 105,
  run,
};
