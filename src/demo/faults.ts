import { setTimeout } from "node:timers/promises";
import type { RunningStep, RunningSteps } from "./running-steps.ts";
import { spawnWorker, type WorkerProcess } from "./worker-process.ts";

export interface FaultOptions {
  /** Worker processes to keep alive. */
  readonly workers: number;
  readonly settings: Readonly<Record<string, string>>;
  readonly cwd: string;
  readonly random: () => number;
  readonly leaseMs: number;
  /** Cuts every connection; returns how many there were. */
  readonly cutConnections: () => number;
  readonly steps: RunningSteps;
}

/** How a worker process ended. */
interface WorkerEnd {
  readonly exit: number | NodeJS.Signals;
  readonly lastLine: string;
}

/** Worker processes, and what befalls them. */
export interface Faults extends AsyncDisposable {
  /**
   * Keys of completions that were in flight when a fault struck, or began at a worker that was frozen or
   * stopping: only these may have been published again.
   */
  readonly completionsInFlight: ReadonlySet<string>;
  /** Keys of completions that were taken over while they ran, be it for a fault or since the server was too slow. */
  readonly completionsTakenOver: ReadonlySet<string>;
  /** Strikes one worker at random with SIGKILL, SIGTERM or SIGSTOP, and now and then cuts all connections. */
  strike(): void;
  /** Lets every frozen worker go on, and waits until it does. */
  thawAll(): Promise<void>;
  /** Asks all workers to stop and waits; how every worker that was ever asked to ended. */
  stopAll(): Promise<readonly WorkerEnd[]>;
  /** Every fault so far, counted. */
  describe(): string;
}

/** Share of strikes with SIGKILL; of the others, half are SIGTERM and half SIGSTOP. */
const KILL_SHARE = 0.6;
const CUT_SHARE = 0.4;

/** Starts the workers and waits until all are ready. */
export const createFaults = async (options: FaultOptions): Promise<Faults> => {
  const { workers: wanted, settings, cwd, random, leaseMs, cutConnections, steps } = options;
  const counts = { SIGKILL: 0, SIGTERM: 0, SIGSTOP: 0, cuts: 0, connections: 0 };
  const completionsInFlight = new Set<string>();
  const completionsTakenOver = new Set<string>();
  const everyone = new Set<WorkerProcess>();
  const running = new Set<WorkerProcess>();
  const frozen = new Map<WorkerProcess, Promise<void>>();
  const stopping = new Set<WorkerProcess>();
  const stopped: Promise<WorkerEnd>[] = [];
  const endOf = async (worker: WorkerProcess) => {
    const exit = await worker.exited;
    return { exit, lastLine: worker.lines.at(-1) ?? "" };
  };

  const start = () => {
    const worker = spawnWorker(settings, { cwd });
    everyone.add(worker);
    running.add(worker);
    return worker;
  };
  const note = ({ name, key }: RunningStep) => {
    if (name === "enqueueCompletion") completionsInFlight.add(key);
  };
  const noteAll = () => steps.at().forEach(note);
  // Its request was on the way when the fault struck: the step runs after the thaw, or is cut short by the stop.
  steps.onBegun = (step) => {
    const isHere = ({ pid }: WorkerProcess) => step.worker.startsWith(`${pid}-`);
    if ([...frozen.keys(), ...stopping].some(isHere)) note(step);
  };
  const stop = (worker: WorkerProcess) => {
    stopping.add(worker);
    stopped.push(endOf(worker).finally(() => stopping.delete(worker)));
    worker.kill("SIGTERM");
  };
  steps.onTakenOver = ({ name, key }) => {
    if (name === "enqueueCompletion") completionsTakenOver.add(key);
  };
  const replace = (worker: WorkerProcess, signal: "SIGKILL" | "SIGTERM") => {
    running.delete(worker);
    if (signal === "SIGTERM") stop(worker);
    else worker.kill(signal);
    start();
  };
  const freeze = (worker: WorkerProcess) => {
    running.delete(worker);
    worker.kill("SIGSTOP");
    const thaw = async () => {
      await setTimeout(leaseMs * (1 + random()));
      noteAll();
      worker.kill("SIGCONT");
      running.add(worker);
    };
    const thawed = thaw().finally(() => frozen.delete(worker));
    frozen.set(worker, thawed);
  };

  await Promise.all(Array.from({ length: wanted }, () => start().ready));
  return {
    completionsInFlight,
    completionsTakenOver,
    strike: () => {
      noteAll();
      const [kind, who, cut] = [random(), random(), random()];
      const worker = [...running][Math.floor(who * running.size)];
      if (worker) {
        const signal = kind < KILL_SHARE ? "SIGKILL" : kind < (1 + KILL_SHARE) / 2 ? "SIGTERM" : "SIGSTOP";
        counts[signal] += 1;
        if (signal === "SIGSTOP") freeze(worker);
        else replace(worker, signal);
      }
      if (cut < CUT_SHARE) {
        counts.cuts += 1;
        counts.connections += cutConnections();
      }
    },
    thawAll: async () => {
      await Promise.all(frozen.values());
    },
    stopAll: async () => {
      await Promise.allSettled([...running].map((worker) => worker.ready));
      for (const worker of running) stop(worker);
      return Promise.all(stopped);
    },
    describe: () =>
      `${counts.SIGKILL} SIGKILL, ${counts.SIGTERM} SIGTERM, ${counts.SIGSTOP} SIGSTOP, ${counts.cuts} cuts of ${counts.connections} connections`,
    [Symbol.asyncDispose]: async () => {
      await Promise.all([...everyone].map((worker) => worker[Symbol.asyncDispose]()));
    },
  };
};
