import { isRedirect, isSuccess, type PromiseRecord, type Request, type Response } from "@resonatehq/sdk";
import { HANDED_BACK_TAG } from "./request.ts";

/** What the server has recorded of one execution that runs here. */
interface Recorded {
  /** Counts the leases on the execution so far, this one included. */
  readonly lease: number;
  /** Its steps and sleeps, by promise id. */
  readonly promises: Map<string, PromiseRecord>;
}

/** What the server has recorded of the executions that run in this process. */
export interface History {
  /** To be told of every answer of the server. */
  readonly onAnswer: (request: Request, response: Response) => void;
  /** To be told of every request that was not answered. */
  readonly onSilence: (request: Request) => void;
  /** Counts the leases on an execution, the present one included; 1 for one that was never handed on. */
  leaseOf(executionId: string): number;
  /** What stands recorded under a promise id of an execution. */
  find(executionId: string, promiseId: string): PromiseRecord | undefined;
  /** How often an execution was handed back unharmed, under the lease `lease` and later ones. */
  handBacksSince(executionId: string, lease: number): number;
  /** The promise ids recorded of an execution's way: its steps and sleeps. */
  idsOf(executionId: string): string[];
}

/**
 * Notes what comes along when an execution is leased, and what it does from then on: the SDK matches steps by position
 * alone (coroutine.js of @resonatehq/sdk 0.11.5) and shows nobody what was recorded there, or how often the execution
 * changed hands.
 */
export const createHistory = (): History => {
  const executions = new Map<string, Recorded>();

  const note = (executionId: string, promises: readonly PromiseRecord[]) => {
    const recorded = executions.get(executionId);
    for (const promise of promises) recorded?.promises.set(promise.id, promise);
  };

  /** What was given up under an earlier lease may be here again under a later one. */
  const forget = ({ id, version }: { readonly id: string; readonly version: number }) => {
    if (executions.get(id)?.lease === version) executions.delete(id);
  };

  const promisesOf = (executionId: string) => [...(executions.get(executionId)?.promises.values() ?? [])];

  return {
    onAnswer: (request, response) => {
      if (isSuccess(response) && (response.kind === "task.create" || response.kind === "task.acquire")) {
        const { task, preload } = response.data;
        if (task?.state !== "acquired") return;
        executions.set(task.id, { lease: task.version, promises: new Map() });
        note(task.id, preload ?? []);
      }
      if (request.kind === "task.fence" && response.kind === "task.fence" && isSuccess(response)) {
        const { action } = response.data;
        // As when it is leased: what is on its branch. An execution that continues it is on one of its own.
        if (isSuccess(action) && action.data.promise.tags["resonate:branch"] === request.data.id)
          note(request.data.id, [action.data.promise]);
      }
      if (
        request.kind === "task.suspend" ||
        request.kind === "task.fulfill" ||
        request.kind === "task.release"
      ) {
        // A suspension that is answered with a redirect goes on at once, with what has been recorded meanwhile.
        if (response.kind === "task.suspend" && isRedirect(response))
          note(request.data.id, response.data.preload);
        else forget(request.data);
      }
    },
    onSilence: ({ kind, data }) => {
      // The execution has been left: nothing is sent for it any more that would end what is noted here.
      if (kind === "task.release") forget(data);
    },
    leaseOf: (executionId) => executions.get(executionId)?.lease ?? 1,
    find: (executionId, promiseId) => executions.get(executionId)?.promises.get(promiseId),
    handBacksSince: (executionId, lease) =>
      promisesOf(executionId).filter(({ tags }) => Number(tags[HANDED_BACK_TAG]) >= lease).length,
    idsOf: (executionId) =>
      promisesOf(executionId)
        .filter(({ tags }) => tags[HANDED_BACK_TAG] === undefined)
        .map(({ id }) => id),
  };
};
