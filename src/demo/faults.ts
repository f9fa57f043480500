import { setTimeout } from "node:timers/promises";
import { tellDeed } from "../timeline/event-line.ts";
import type { RunningStep, RunningSteps } from "./running-steps.ts";
import type { WorkerEnd } from "./verdict.ts";
import type { OpenHost, WorkerHost } from "./worker-host.ts";
import { spawnWorker, type WorkerProcess } from "./worker-process.ts";

export interface FaultOptions {
  /** Worker processes to keep alive. */
  readonly workers: number;
  readonly settings: Readonly<Record<string, string>>;
  readonly cwd: string;
  readonly random: () => number;
  readonly leaseMs: number;
  /** Opens the host of another worker. */
  readonly openHost: OpenHost;
  /** Cuts every connection; returns how many there were. */
  readonly cutConnections: () => number;
  /** Makes the server answer late for a while. */
  readonly slowServer: () => void;
  /** Locks the row store for a while. */
  readonly lockStore: () => void;
  readonly steps: RunningSteps;
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
  /**
   * Strikes one worker at random: with SIGKILL, SIGTERM or SIGSTOP, or by silence between its host and the others.
   * Now and then cuts all connections, slows the server down or locks the row store.
   *
   * @returns false, and strikes nothing, when no worker runs
   */
  strike(): boolean;
  /** Lets every frozen or silent worker go on, and waits until it does. */
  thawAll(): Promise<void>;
  /** Asks all workers to stop and waits; how every worker that was ever asked to ended. */
  stopAll(): Promise<readonly WorkerEnd[]>;
  /** Every fault so far, counted. */
  describe(): string;
}

type Kind = "SIGKILL" | "SIGTERM" | "SIGSTOP" | "silence";

/** How often each kind of strike comes, of ten. */
const KINDS: readonly Kind[] = [
  ...(["SIGKILL", "SIGKILL", "SIGKILL", "SIGKILL", "SIGKILL"] as const),
  ...(["SIGTERM", "SIGTERM", "SIGSTOP", "SIGSTOP", "silence"] as const),
];
const CUT_SHARE = 0.4;
const SLOW_SHARE = 0.1;
const LOCK_SHARE = 0.1;

/** Starts the workers and waits until all are ready. */
export const createFaults = async (options: FaultOptions): Promise<Faults> => {
  const { workers: wanted, settings, cwd, random, leaseMs, openHost, cutConnections, steps } = options;
  const counts = {
    SIGKILL: 0,
    SIGTERM: 0,
    SIGSTOP: 0,
    silence: 0,
    cuts: 0,
    connections: 0,
    slow: 0,
    locks: 0,
  };
  const completionsInFlight = new Set<string>();
  const completionsTakenOver = new Set<string>();
  const everyone = new Set<WorkerProcess>();
  const running = new Set<WorkerProcess>();
  const frozen = new Map<WorkerProcess, Promise<void>>();
  const hosts = new Map<WorkerProcess, WorkerHost>();
  const closings: Promise<unknown>[] = [];
  const stopping = new Set<WorkerProcess>();
  const stopped: Promise<WorkerEnd>[] = [];
  const endOf = async (worker: WorkerProcess) => {
    const exit = await worker.exited;
    return { exit, lastLine: worker.lines.at(-1) ?? "" };
  };

  const start = async () => {
    const host = await openHost();
    const { resonateUrl, command } = host;
    const worker = spawnWorker({ ...settings, RESONATE_URL: resonateUrl }, { cwd, command });
    tellDeed(settings.EVENTS_FILE, { event: "worker.spawned", pid: worker.pid });
    hosts.set(worker, host);
    const closed = worker.exited.finally(() => host[Symbol.asyncDispose]());
    // Its failure is told at the end.
    closed.catch(() => {});
    closings.push(closed);
    everyone.add(worker);
    running.add(worker);
    await worker.ready;
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
    // One that is killed before it is ready is replaced by the strike that killed it.
    start().catch(() => {});
  };
  /** For longer than a lease. Others take its executions over. */
  const suspend = (worker: WorkerProcess, begin: () => void, end: () => void) => {
    running.delete(worker);
    begin();
    const thaw = async () => {
      await setTimeout(leaseMs * (1 + random()));
      noteAll();
      end();
      running.add(worker);
    };
    const thawed = thaw().finally(() => frozen.delete(worker));
    frozen.set(worker, thawed);
  };

  const strikeWorker = (worker: WorkerProcess, kind: Kind) => {
    counts[kind] += 1;
    tellDeed(settings.EVENTS_FILE, { event: "worker.struck", pid: worker.pid, kind });
    const host = hosts.get(worker);
    if (kind === "SIGKILL" || kind === "SIGTERM") replace(worker, kind);
    else if (kind === "silence")
      suspend(
        worker,
        () => host?.fallSilent(),
        () => host?.recover(),
      );
    else
      suspend(
        worker,
        () => worker.kill("SIGSTOP"),
        () => worker.kill("SIGCONT"),
      );
  };

  await Promise.all(Array.from({ length: wanted }, start));
  return {
    completionsInFlight,
    completionsTakenOver,
    strike: () => {
      if (running.size === 0) return false;
      noteAll();
      const [kind, who, cut, slow, lock] = [random(), random(), random(), random(), random()];
      const worker = [...running][Math.floor(who * running.size)];
      if (worker) strikeWorker(worker, KINDS[Math.floor(kind * KINDS.length)] ?? "SIGKILL");
      if (slow < SLOW_SHARE) {
        counts.slow += 1;
        options.slowServer();
      }
      if (lock < LOCK_SHARE) {
        counts.locks += 1;
        options.lockStore();
      }
      if (cut < CUT_SHARE) {
        counts.cuts += 1;
        counts.connections += cutConnections();
      }
      return true;
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
      `${counts.SIGKILL} SIGKILL, ${counts.SIGTERM} SIGTERM, ${counts.SIGSTOP} SIGSTOP, ${counts.silence} silent hosts, ${counts.cuts} cuts of ${counts.connections} connections, ${counts.slow} slow spells, ${counts.locks} locks`,
    [Symbol.asyncDispose]: async () => {
      await Promise.all([...everyone].map((worker) => worker[Symbol.asyncDispose]()));
      await Promise.all(closings);
    },
  };
};
