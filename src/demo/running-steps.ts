import type { OnExchange } from "../stack/resonate-server.ts";

/** Watches a server's requests to tell which worker holds which execution, and which have a step in flight. */
export interface RunningSteps {
  readonly onExchange: OnExchange;
  /** Record ids whose execution has a step in flight at `worker`. */
  withStepAt(worker: string): Set<string>;
}

/** A step is in flight from the creation of its promise to its settlement. */
export const watchRunningSteps = (): RunningSteps => {
  const holders = new Map<string, string>();
  const inFlight = new Map<string, { task: string; recordId: string }>();
  return {
    onExchange: (request, response) => {
      if (response.head.status !== 200) return;
      if (request.kind === "task.create") holders.set(request.data.action.data.id, request.data.pid);
      if (request.kind === "task.acquire") holders.set(request.data.id, request.data.pid);
      if (request.kind !== "task.fence") return;
      const { id: task, action } = request.data;
      if (action.kind === "promise.settle") inFlight.delete(action.data.id);
      else if (action.data.tags["resonate:scope"] === "local") {
        const recordId = action.data.tags["resonate:origin"] ?? task;
        inFlight.set(action.data.id, { task, recordId });
      }
    },
    withStepAt: (worker) =>
      new Set(
        [...inFlight.values()]
          .filter(({ task }) => holders.get(task) === worker)
          .map(({ recordId }) => recordId),
      ),
  };
};
