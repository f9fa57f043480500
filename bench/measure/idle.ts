import { setTimeout } from "node:timers/promises";
import { openLab, until } from "../lab.ts";
import type { Measurement, Run } from "../measurement.ts";
import { cpuSecondsOf } from "../proc.ts";
import { format } from "../statistics.ts";

const ASLEEP = 1000;
const WINDOW_MS = 25_000;
/** What a start or a burst of work leaves to tidy up. */
const SETTLE_MS = 4000;
const MOST_PERCENT = 1;

const run = async ({ quick, signal, onProgress }: Run) => {
  const asleep = quick ? 100 : ASLEEP;
  const windowMs = quick ? 5000 : WINDOW_MS;
  const settings = { BATCH_PAUSE_MS: "3600000" };
  await using empty = await openLab({ settings });
  await using full = await openLab({ settings });
  await using yardstick = await openLab({ settings });

  onProgress(0, `${asleep} records go to sleep`);
  const [idle, busy, plain] = await Promise.all([
    empty.startWorker(),
    full.startWorker(),
    yardstick.startWorker({ plain: true }),
  ]);
  const proxyless = await full.seed(asleep, { batches: 2 });
  await until(
    "all to be asleep",
    async () => (await full.records.countRows()) <= proxyless.length * full.settings.BATCH_SIZE,
    {
      signal,
    },
  );
  await setTimeout(SETTLE_MS, undefined, { signal });

  onProgress(0.4, "watching");
  const workers = [
    { name: "this worker, 0 in flight", pid: idle.pid },
    { name: `this worker, ${asleep} asleep`, pid: busy.pid },
    { name: "plain, 0 in flight", pid: plain.pid },
  ].map((own) => ({ ...own, before: cpuSecondsOf(own.pid) }));
  const began = performance.now();
  await setTimeout(windowMs, undefined, { signal });
  const seconds = (performance.now() - began) / 1000;
  const shares = workers.map(({ name, pid, before }) => ({
    name,
    percent: (100 * (cpuSecondsOf(pid) - before)) / seconds,
  }));
  return {
    findings: shares.slice(0, 2).map(({ name, percent }) => ({
      claim: `${name}: less than ${MOST_PERCENT} % of a core`,
      holds: percent < MOST_PERCENT,
      seen: `${format(percent)} % over ${seconds.toFixed(0)} s`,
    })),
    notes: [],
    tables: [
      {
        head: ["worker", "% of a core"],
        rows: shares.map(({ name, percent }) => [name, percent.toFixed(2)]),
      },
    ],
    plots: [],
    samples: { seconds, shares },
  };
};

export const idle: Measurement = {
  name: "idle",
  title: "Idle",
  method: `Processor time of worker processes over ${WINDOW_MS / 1000} s from /proc/<pid>/stat, whose tick is a hundredth of a second: one with nothing in flight, one with ${ASLEEP} executions asleep between two batches.`,
  seconds: 40,
  run,
};
