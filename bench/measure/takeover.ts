import { setTimeout } from "node:timers/promises";
import type { WorkerProcess } from "../../src/demo/worker-process.ts";
import { type Lab, openLab, until } from "../lab.ts";
import { watchWork } from "../lease-watch.ts";
import type { Measurement, Run } from "../measurement.ts";
import { formatSpread, spreadOf } from "../statistics.ts";

/** As by default. */
const LEASE_TTL_MS = 3000;
const KILLS = 20;
const STOPS = 10;
const RECORDS = 40;
const STEP_MS = 400;
/** Between two strikes, so that all is as before. */
const SETTLE_MS = 500;
const KILL_LIMIT_MS = LEASE_TTL_MS + 1000;
/** Of workers under one parent: the lease plays no part. */
const PARENT = { workers: 3, limitMs: 500 };
const STOP_LIMIT_MS = 1000;

interface Strike {
  readonly signal: "SIGKILL" | "SIGTERM";
  readonly count: number;
  readonly graceMs: number;
  /** Whether one parent has started the workers (`--workers`). */
  readonly hasParent?: boolean;
}

/** The workers that are up, by name. */
interface Crew {
  names(): string[];
  /** Sends a signal to one, which then is up no more. */
  strike(name: string, signal: NodeJS.Signals): void;
  /** Resolves once as many are up as before. */
  restore(): Promise<void>;
}

/** Two workers, each started by hand. */
const startPair = async (lab: Lab): Promise<Crew> => {
  const workers = new Map<string, WorkerProcess>();
  const start = async () => {
    const worker = await lab.startWorker();
    workers.set(await worker.ready, worker);
  };
  await Promise.all([start(), start()]);
  return {
    names: () => [...workers.keys()],
    strike: (name, signal) => {
      workers.get(name)?.kill(signal);
      workers.delete(name);
    },
    restore: start,
  };
};

/** Workers that one parent starts, and starts again. */
const startUnderParent = async (lab: Lab, signal: AbortSignal): Promise<Crew> => {
  const { lines } = await lab.startWorker({ args: ["--workers", String(PARENT.workers)] });
  const struck = new Set<string>();
  const names = () =>
    lines
      .map((line) => /worker (\S+) is ready/.exec(line)?.[1] ?? "")
      .filter((name) => name !== "" && !struck.has(name));
  const restore = async () => {
    await until("all workers", () => names().length === PARENT.workers, { signal });
  };
  await restore();
  return {
    names,
    strike: (name, kind) => {
      struck.add(name);
      process.kill(Number(name.split("-", 1)[0]), kind);
    },
    restore,
  };
};

interface Takeover {
  /** Records with a step in flight at the worker that was struck. */
  readonly cut: number;
  /** Milliseconds until a survivor took the first of them up. */
  readonly first: number;
  /** Milliseconds until all of them were taken up. */
  readonly all: number;
}

/** Workers of which one is struck and replaced, again and again. */
const strikeRepeatedly = async (
  { signal: kind, count, graceMs, hasParent = false }: Strike,
  signal: AbortSignal,
  onTakeover: (done: number) => void,
): Promise<Takeover[]> => {
  await using lab = await openLab({
    settings: {
      LEASE_TTL_MS: String(LEASE_TTL_MS),
      SESSION_TIMEOUT_MS: "6000",
      SHUTDOWN_GRACE_MS: String(graceMs),
      SIMULATED_LATENCY_MS: String(STEP_MS),
      BATCH_PAUSE_MS: "200",
      BATCH_SIZE: "1",
      STEP_CONCURRENCY: String(RECORDS),
    },
  });
  const { steps, leases } = await watchWork(lab);

  const crew = await (hasParent ? startUnderParent(lab, signal) : startPair(lab));
  await lab.seed(RECORDS, { batches: 500 });

  const takeovers: Takeover[] = [];
  while (takeovers.length < count) {
    const name = await until(
      "a worker with steps in flight",
      () => {
        const [leader] = crew.names().toSorted((a, b) => steps.at(b).length - steps.at(a).length);
        return leader !== undefined && steps.at(leader).length >= 3 && leader;
      },
      { signal },
    );
    const cut = new Set(steps.at(name).map(({ recordId }) => recordId));
    const struckAt = performance.now();
    const taken = new Map<string, number>();
    leases.onTaken = (task, by) => {
      const record = task.split(":", 1)[0] ?? task;
      if (by !== name && cut.has(record) && !taken.has(record))
        taken.set(record, performance.now() - struckAt);
    };
    crew.strike(name, kind);
    await Promise.all([
      crew.restore(),
      until("all cut records to be taken up", () => taken.size >= cut.size, { signal }),
    ]);
    takeovers.push({ cut: cut.size, first: Math.min(...taken.values()), all: Math.max(...taken.values()) });
    onTakeover(takeovers.length);
    await setTimeout(SETTLE_MS, undefined, { signal });
  }
  return takeovers;
};

const run = async ({ quick, signal, onProgress }: Run) => {
  const total = quick ? 6 : 2 * KILLS + 2 * STOPS;
  let done = 0;
  const strike = (options: Strike, what: string) =>
    strikeRepeatedly(options, signal, () => onProgress(++done / total, what));
  const [kills, stops] = quick ? [2, 1] : [KILLS, STOPS];
  const kill = { signal: "SIGKILL" as const, count: kills / 2, graceMs: 5000 };
  // Two pairs of workers side by side, each on a stack of its own.
  const killed = (await Promise.all([strike(kill, "SIGKILL"), strike(kill, "SIGKILL")])).flat();
  const handed = { ...kill, hasParent: true };
  const handedBack = (
    await Promise.all([strike(handed, "SIGKILL under a parent"), strike(handed, "SIGKILL under a parent")])
  ).flat();
  const [stopped, cutShort] = await Promise.all([
    strike({ signal: "SIGTERM", count: stops, graceMs: 5000 }, "SIGTERM"),
    strike({ signal: "SIGTERM", count: stops, graceMs: 0 }, "SIGTERM"),
  ]);

  const firstOf = (takeovers: readonly Takeover[]) => takeovers.map(({ first }) => first);
  const judge = (what: string, takeovers: readonly Takeover[], limit: number) => {
    const { median } = spreadOf(firstOf(takeovers));
    return {
      claim: `${what}: a survivor is at the dead worker's records within ${limit} ms`,
      holds: median <= limit,
      seen: `${formatSpread(spreadOf(firstOf(takeovers)), " ms")} in ${takeovers.length}`,
    };
  };
  const cases = [
    { what: "SIGKILL", takeovers: killed, limit: KILL_LIMIT_MS },
    { what: "SIGKILL, under a parent", takeovers: handedBack, limit: PARENT.limitMs },
    { what: "SIGTERM, steps may end", takeovers: stopped, limit: STOP_LIMIT_MS },
    { what: "SIGTERM, steps are cut", takeovers: cutShort, limit: STOP_LIMIT_MS },
  ];
  return {
    findings: cases.map(({ what, takeovers, limit }) => judge(what, takeovers, limit)),
    notes: [
      `After SIGTERM, steps that run may end (SHUTDOWN_GRACE_MS); one that takes longer goes to another worker only after that time.`,
    ],
    tables: [
      {
        head: ["", "n", "first record, ms", "all its records, ms", "records cut"],
        rows: cases.map(({ what, takeovers }) => [
          what,
          takeovers.length,
          formatSpread(spreadOf(firstOf(takeovers))),
          formatSpread(spreadOf(takeovers.map(({ all }) => all))),
          formatSpread(spreadOf(takeovers.map(({ cut }) => cut))),
        ]),
      },
    ],
    plots: [
      {
        file: "takeover",
        title: "Time until a survivor is at the dead worker's records",
        x: { label: "seconds after the signal" },
        y: { label: "share of takeovers, %", max: 100 },
        bound: { x: KILL_LIMIT_MS / 1000, label: "lease + 1 s" },
        series: cases.map(({ what, takeovers }) => ({
          name: what,
          steps: true,
          points: firstOf(takeovers)
            .toSorted((a, b) => a - b)
            .map((ms, i, { length }) => ({ x: ms / 1000, y: (100 * (i + 1)) / length })),
        })),
      },
    ],
    samples: { killed, handedBack, stopped, cutShort },
  };
};

export const takeover: Measurement = {
  name: "takeover",
  title: "Takeover",
  method: `Two workers share ${RECORDS} records with steps of ${STEP_MS} ms and a lease of ${LEASE_TTL_MS / 1000} s. The one with more steps in flight gets a signal, and a new worker starts. Measured is the time until the server gives a survivor the lease on a record whose step was in flight, which is when its step runs again there: first for one record, last for all of them. Under a parent there are ${PARENT.workers} workers, which it starts again. SIGTERM once with the default grace of 5 s, in which the steps end, and once with none.`,
  seconds: 150,
  run,
};
