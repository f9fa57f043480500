import type { Request } from "@resonatehq/sdk";
import type { LedgerEntry, RecordStore } from "../jobs/deletion/records.ts";
import type { DeletionSteps } from "../jobs/deletion/steps.ts";
import type { Takeover } from "../timeline/timeline.ts";
import type { RunningStep, RunningSteps } from "./running-steps.ts";
import type { Finding } from "./verdict.ts";

/**
 * When a worker is killed: as it begins a batch, before its effect; or in the worst moment, when the batch's rows are
 * deleted and its checkpoint is not written.
 */
export const KILL_POINTS = ["begin", "step"] as const;
export type KillPoint = (typeof KILL_POINTS)[number];

export interface Kill {
  readonly point: KillPoint;
  readonly worker: string;
  /** The step that was aimed at, and all of the worker's steps that were in flight. */
  readonly target: RunningStep;
  readonly cut: readonly RunningStep[];
  /** Milliseconds since 1970. */
  readonly at: number;
}

export interface KillsOptions {
  /** One kill for each, in this order. */
  readonly points: readonly KillPoint[];
  readonly steps: RunningSteps;
  readonly records: Pick<RecordStore, "ledger">;
  /** Whether the work of the worker that was killed before is gone on with. */
  readonly isTakenOver: (kill: Kill) => boolean;
  /** Kills the worker; called once for each kill. */
  readonly onKill: (kill: Kill) => void;
}

const DELETE_BATCH = "deleteBatch" satisfies keyof DeletionSteps;

/** Strikes the worker that leads, at a point of the protocol. */
export interface Kills {
  readonly struck: readonly Kill[];
  /** All batches there are, once they are known. */
  total: number;
  /** To be told of each request before it reaches the server. Never returns where its worker was killed. */
  readonly onRequest: (request: Request) => Promise<void>;
}

/** Armed at once: so few records may follow that they are done while the rest is set up. */
export const armKills = ({ points, steps, records, isTakenOver, onKill }: KillsOptions): Kills => {
  const struck: Kill[] = [];

  const tryKill = async (point: KillPoint, target: RunningStep): Promise<boolean> => {
    const isNext = () => points[struck.length] === point;
    if (!isNext() || target.name !== DELETE_BATCH) return false;
    const ledger = await records.ledger();
    const last = struck.at(-1);
    if (!isNext() || last?.worker === target.worker) return false;
    const own = ledger.filter((entry) => entry.worker === target.worker).length;
    const leads = own >= ledger.length / (struck.length + 2);
    // The one that leads, when its share is done; if that one has nothing left to do, another one later.
    const share = (struck.length + 1) / (points.length + 1);
    const isTime = leads && (last === undefined || isTakenOver(last));
    if (ledger.length < Math.floor(kills.total * (isTime ? share : share + 0.25))) return false;
    const { worker } = target;
    const kill = { point, worker, target, cut: steps.at(worker), at: Date.now() };
    struck.push(kill);
    onKill(kill);
    return true;
  };

  // Killed before it hears that its step exists, its worker cannot have applied it.
  steps.onBegun = async (step) => {
    await tryKill("begin", step);
  };
  const kills: Kills = {
    struck,
    total: Number.POSITIVE_INFINITY,
    onRequest: async (request) => {
      if (request.kind !== "task.fence" || request.data.action.kind !== "promise.settle") return;
      const { id, state } = request.data.action.data;
      const target = steps.at().find(({ stepId }) => stepId === id);
      // The step has its result, so its effect has taken place; what would make it a checkpoint goes no further.
      if (target && state === "resolved" && (await tryKill("step", target))) {
        throw new Error("its worker was killed");
      }
    },
  };
  return kills;
};

/** Whether a kill hit where it was meant to, and what became of the steps that it cut. */
export const judgeKill = (
  kill: Kill,
  takeovers: readonly Takeover[],
  ledger: readonly LedgerEntry[],
  { leaseMs, limitMs }: { leaseMs: number; limitMs: number },
): Finding => {
  const { point, worker, target, cut, at } = kill;
  const entry = ledger.find(({ key }) => key === target.key);
  const takeover = takeovers.find((one) => one.key === target.key && one.at >= at);
  const ms = (takeover?.at ?? Number.POSITIVE_INFINITY) - at;
  const batches = cut.filter(({ name }) => name === DELETE_BATCH);
  const finished = batches.filter(({ key }) => ledger.some((one) => one.key === key));
  const hit =
    point === "begin"
      ? entry !== undefined && entry.worker !== worker
      : entry?.worker === worker && entry.repeats > 0;
  const outcome =
    point === "begin"
      ? `${hit ? "another worker" : "not another worker"} ran it`
      : `${entry?.repeats ?? 0} answered from the ledger`;
  return {
    claim:
      point === "begin"
        ? "killed before a batch's effect"
        : "killed between a batch's effect and its checkpoint",
    holds: hit && ms <= limitMs && finished.length === batches.length,
    seen: `${outcome} ${(ms / 1000).toFixed(1)} s later (lease ${leaseMs / 1000} s), ${finished.length} of ${batches.length} cut batches finished`,
  };
};
