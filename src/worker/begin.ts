import {
  isSuccess,
  type PromiseRecord,
  type Request,
  type ResonateHandle,
  type Response,
} from "@resonatehq/sdk";
import { decodeCall } from "../resonate/call.ts";

/** What became of a request to start an execution. */
export type Outcome =
  /** It runs, and nobody had asked for it before. */
  | "started"
  /** It had been started before and has not ended. */
  | "running"
  | "finished"
  | "failed"
  /** The id belongs to a promise that is no execution of this job for this topic. */
  | "taken";

export interface Begun {
  readonly outcome: Outcome;
  /** The name of the function that the promise calls, where the id is taken. */
  readonly owner: string;
  /** Resolves or rejects once the execution has ended, wherever it runs. Costs a request. */
  ended(): Promise<unknown>;
}

/** Starts the durable execution `id`, or finds what there is under that id. */
export type Begin = (id: string, text: string) => Promise<Begun>;

export interface Beginnings {
  /** To be told of every answer of the server. */
  readonly onAnswer: (request: Request, response: Response) => void;
  readonly begin: Begin;
}

/**
 * `beginRun`, with what it found: the SDK gives the same handle for an execution that was started, runs elsewhere, has
 * finished or has failed, and for a promise of somebody else. The server's answers tell them apart.
 *
 * @param name of the function under which this job's executions are registered
 * @param beginRun starts an execution
 */
export const createBegin = (
  name: string,
  beginRun: (id: string, text: string) => Promise<Pick<ResonateHandle<unknown>, "result">>,
): Beginnings => {
  /** The promises that were there before, by id, of executions that are being started. */
  const found = new Map<string, PromiseRecord | undefined>();

  const note = (id: string, promise: PromiseRecord) => {
    if (found.has(id)) found.set(id, promise);
  };
  const judge = (promise: PromiseRecord | undefined): Pick<Begun, "outcome" | "owner"> => {
    const owner = promise === undefined ? name : decodeCall(promise.param).func;
    if (promise === undefined) return { outcome: "started", owner };
    if (owner !== name) return { outcome: "taken", owner };
    if (promise.state === "pending") return { outcome: "running", owner };
    return { outcome: promise.state === "resolved" ? "finished" : "failed", owner };
  };

  return {
    onAnswer: (request, response) => {
      if (!isSuccess(response)) return;
      if (response.kind === "promise.register_listener")
        note(response.data.promise.id, response.data.promise);
      if (request.kind !== "task.create" || response.kind !== "task.create") return;
      const { task, promise } = response.data;
      // The first lease of a task is that of its creation.
      if (task?.state !== "acquired" || task.version > 1) note(promise.id, promise);
    },
    begin: async (id, text) => {
      found.set(id, undefined);
      try {
        const handle = await beginRun(id, text);
        return { ...judge(found.get(id)), ended: () => handle.result() };
      } finally {
        found.delete(id);
      }
    },
  };
};
