import type { Request } from "@resonatehq/sdk";
import { watchRunningSteps } from "../src/demo/running-steps.ts";
import type { Lab } from "./lab.ts";

/** Told of each execution that a worker has taken up: the task's id, the worker, and who held it until then. */
type OnTaken = (task: string, worker: string, before: string | undefined) => void;

/** Watches answers for who holds which task. */
export interface LeaseWatch {
  /** To be called with each request and the status of its answer. */
  readonly onAnswer: (request: Request, status: number) => void;
  onTaken: OnTaken;
  /** Tasks that were taken up while somebody held them: their lease had ended under the holder. */
  readonly lost: number;
  /** Requests under a lease that the server refused. */
  readonly refused: number;
  /** The most tasks held at once. */
  readonly mostHeld: number;
  readonly heartbeats: number;
}

const UNDER_LEASE = new Set<Request["kind"]>(["task.fence", "task.suspend", "task.fulfill"]);

export const watchLeases = (): LeaseWatch => {
  const holders = new Map<string, string>();
  let [lost, refused, mostHeld, heartbeats] = [0, 0, 0, 0];
  const take = (task: string, worker: string) => {
    const before = holders.get(task);
    if (before !== undefined) lost += 1;
    holders.set(task, worker);
    mostHeld = Math.max(mostHeld, holders.size);
    watch.onTaken(task, worker, before);
  };
  const watch: LeaseWatch = {
    onTaken: () => {},
    onAnswer: (request, status) => {
      if (UNDER_LEASE.has(request.kind) && status === 409) refused += 1;
      if (request.kind === "task.heartbeat") heartbeats += 1;
      if (status !== 200) return;
      if (request.kind === "task.create") take(request.data.action.data.id, request.data.pid);
      if (request.kind === "task.acquire") take(request.data.id, request.data.pid);
      if (
        request.kind === "task.suspend" ||
        request.kind === "task.fulfill" ||
        request.kind === "task.release"
      )
        holders.delete(request.data.id);
    },
    get lost() {
      return lost;
    },
    get refused() {
      return refused;
    },
    get mostHeld() {
      return mostHeld;
    },
    get heartbeats() {
      return heartbeats;
    },
  };
  return watch;
};

/** Puts a proxy before the lab's server, and watches there who has which steps in flight and who holds which lease. */
export const watchWork = async (lab: Lab) => {
  const proxy = await lab.watchRequests();
  const steps = watchRunningSteps();
  const leases = watchLeases();
  proxy.onAnswer = async (request, status) => {
    await steps.onAnswer(request, status);
    leases.onAnswer(request, status);
  };
  return { proxy, steps, leases };
};
