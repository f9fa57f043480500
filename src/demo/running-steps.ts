import type { Request } from "@resonatehq/sdk";

/** A step from the creation of its promise to its settlement. */
export interface RunningStep {
  readonly stepId: string;
  /** The name of its function. */
  readonly name: string;
  readonly recordId: string;
  /** Where it was begun: the name of the worker, which starts with its process id. */
  readonly worker: string;
}

/** Watches the requests to a server to tell which worker has which steps in flight. */
export interface RunningSteps {
  /** To be called with each request and the status of its answer. */
  readonly onAnswer: (request: Request, status: number) => void;
  /** Replace these to be told of each step as it begins, and as its execution's lease goes to another while it runs. */
  onBegun: (step: RunningStep) => void;
  onTakenOver: (step: RunningStep) => void;
  /** The steps in flight at `worker`, or at all workers. */
  at(worker?: string): RunningStep[];
}

/** The name of the function that a promise's parameter calls; empty where it calls none. */
export const readFunctionName = (data: unknown): string => {
  const call: unknown = typeof data === "string" && data !== "" ? JSON.parse(atob(data)) : undefined;
  return call !== null && typeof call === "object" && "func" in call ? String(call.func) : "";
};

/** Starts with no step in flight. */
export const watchRunningSteps = (): RunningSteps => {
  const holders = new Map<string, string>();
  const inFlight = new Map<string, RunningStep & { task: string }>();
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
        const step = { task, stepId, name: readFunctionName(action.data.param.data), recordId, worker };
        inFlight.set(stepId, step);
        steps.onBegun(step);
      }
    },
    at: (worker) => [...inFlight.values()].filter((step) => worker === undefined || step.worker === worker),
  };
  return steps;
};
