import type { Request } from "@resonatehq/sdk";
import { decodeCall } from "../resonate/call.ts";
import { KEY_TAG } from "../worker/checkpoint.ts";

/** A step from the creation of its promise to its settlement. */
export interface RunningStep {
  readonly stepId: string;
  /** Its idempotency key. */
  readonly key: string;
  /** The name of its function. */
  readonly name: string;
  readonly recordId: string;
  /** Where it was begun: the name of the worker, which starts with its process id. */
  readonly worker: string;
}

/** Watches the requests to a server to tell which worker has which steps in flight. */
export interface RunningSteps {
  /** To be called with each request and the status of its answer, which waits for the promise. */
  readonly onAnswer: (request: Request, status: number) => void | Promise<void>;
  /** Replace these to be told of each step as it begins, and as its execution's lease goes to another while it runs. */
  onBegun: (step: RunningStep) => void | Promise<void>;
  onTakenOver: (step: RunningStep) => void;
  /** How many executions of a record have begun the step `name`: more than one is one too many. */
  executionsWith(name: string, recordId: string): number;
  /** The steps in flight at `worker`, or at all workers. */
  at(worker?: string): RunningStep[];
}

/** Starts with no step in flight. */
export const watchRunningSteps = (): RunningSteps => {
  const holders = new Map<string, string>();
  const inFlight = new Map<string, RunningStep & { task: string }>();
  /** Ids of all steps that were begun, by name and record. */
  const begun = new Map<string, Set<string>>();
  const keyOf = (name: string, recordId: string) => `${name} ${recordId}`;
  const steps: RunningSteps = {
    onBegun: () => {},
    onTakenOver: () => {},
    onAnswer: (request, status) => {
      if (status !== 200) return;
      if (request.kind === "task.create") holders.set(request.data.action.data.id, request.data.pid);
      if (request.kind === "task.acquire") {
        const { id, pid } = request.data;
        holders.set(id, pid);
        for (const step of inFlight.values()) if (step.task === id) steps.onTakenOver(step);
      }
      if (request.kind !== "task.fence") return;
      const { id: task, action } = request.data;
      const stepId = action.data.id;
      if (action.kind === "promise.settle") inFlight.delete(stepId);
      else if (action.data.tags["resonate:scope"] === "local") {
        const recordId = action.data.tags["resonate:origin"] ?? task;
        const worker = holders.get(task) ?? "";
        const name = decodeCall(action.data.param).func;
        const key = action.data.tags[KEY_TAG] ?? "";
        const step = { task, stepId, key, name, recordId, worker };
        inFlight.set(stepId, step);
        begun.getOrInsertComputed(keyOf(name, recordId), () => new Set<string>()).add(stepId);
        return steps.onBegun(step);
      }
    },
    executionsWith: (name, recordId) => begun.get(keyOf(name, recordId))?.size ?? 0,
    at: (worker) => [...inFlight.values()].filter((step) => worker === undefined || step.worker === worker),
  };
  return steps;
};
