import {
  Codec,
  isSuccess,
  type PromiseRecord,
  type Request,
  type ResonateHandle,
  type Response,
} from "@resonatehq/sdk";
import { decodeCall } from "../resonate/call.ts";
import { isRefusal, RefusedError } from "../resonate/refusals.ts";
import { toError } from "../support/errors.ts";
import { SERVICE_TAG } from "./service.ts";

/** What became of a request to start an execution. */
export type Outcome =
  /** It runs, and nobody had asked for it before. */
  | "started"
  /** It had been started before and has not ended. */
  | "running"
  | "finished"
  | "failed"
  /** The id belongs to a promise that is no execution of this service. */
  | "taken";

export interface Begun {
  readonly outcome: Outcome;
  /** Whose promise it is, where the id is taken: another service of this kind, or `undefined` for any other program. */
  readonly service?: string | undefined;
  /** What the execution failed with. */
  readonly error?: unknown;
  /** Resolves or rejects once the execution has ended, wherever it runs. Costs a request. */
  ended(): Promise<unknown>;
}

/**
 * Starts the durable execution `id`, or finds what there is under that id.
 *
 * @throws {RefusedError} when the server or the SDK will never start it
 */
export type Begin = (id: string, text: string) => Promise<Begun>;

export interface Beginnings {
  /** To be told of every answer of the server. */
  readonly onAnswer: (request: Request, response: Response) => void;
  readonly begin: Begin;
}

export interface BeginOptions {
  /** The name under which this service's executions are registered. */
  readonly name: string;
  readonly beginRun: (id: string, text: string) => Promise<Pick<ResonateHandle<unknown>, "result">>;
  /** Throws when the server refuses what every worker asks of it. */
  readonly assertFit: () => Promise<void>;
}

const codec = new Codec();

/** The status that the server gave, in an error of the SDK (exceptions.js of 0.11.5, which exports no class). */
const statusOf = (error: Error): number | undefined => {
  const found = "serverError" in error ? error.serverError : undefined;
  return found !== null && typeof found === "object" && "code" in found ? Number(found.code) : undefined;
};

/** An error of the SDK itself: what it cannot encode, decode or find will not change. */
const isOwnFault = (error: Error): boolean => error.name === "ResonateError" && statusOf(error) === undefined;

/**
 * `beginRun`, with what it found: the SDK gives the same handle for an execution that was started, runs elsewhere, has
 * finished or has failed, and for a promise of somebody else. The server's answers tell them apart.
 */
export const createBegin = ({ name, beginRun, assertFit }: BeginOptions): Beginnings => {
  /** The promises that were there before, by id, of executions that are being started. */
  const found = new Map<string, PromiseRecord | undefined>();

  const note = (promise: PromiseRecord) => {
    if (found.has(promise.id)) found.set(promise.id, promise);
  };
  const judge = (promise: PromiseRecord | undefined): Omit<Begun, "ended"> => {
    if (promise === undefined) return { outcome: "started" };
    if (decodeCall(promise.param).func !== name)
      return { outcome: "taken", service: promise.tags[SERVICE_TAG] };
    if (promise.state === "pending") return { outcome: "running" };
    if (promise.state === "resolved") return { outcome: "finished" };
    return { outcome: "failed", error: codec.decode(promise.value) };
  };
  const judgeFailure = async (id: string, thrown: unknown): Promise<Begun> => {
    const error = toError(thrown);
    const status = statusOf(error);
    const before = found.get(id);
    const isTaken = status === 422 || (before !== undefined && judge(before).outcome === "taken");
    if (isTaken) return { outcome: "taken", service: before?.tags[SERVICE_TAG], ended: async () => {} };
    if (status === undefined ? !isOwnFault(error) : !isRefusal(status)) throw error;
    await assertFit();
    throw new RefusedError(status ?? 0, error.message);
  };
  const beginOne = async (id: string, text: string): Promise<Begun> => {
    found.set(id, undefined);
    try {
      const handle = await beginRun(id, text);
      return { ...judge(found.get(id)), ended: () => handle.result() };
    } catch (error) {
      return await judgeFailure(id, error);
    } finally {
      found.delete(id);
    }
  };
  /** By id, since answers are told apart by it. */
  const beginning = new Map<string, Promise<Begun>>();

  return {
    onAnswer: (request, response) => {
      if (!isSuccess(response)) return;
      if (response.kind === "promise.register_listener") note(response.data.promise);
      if (request.kind !== "task.create" || response.kind !== "task.create") return;
      const { task, promise } = response.data;
      // The first lease of a task is that of its creation.
      if (task?.state !== "acquired" || task.version > 1) note(promise);
    },
    begin: async (id, text) => {
      const other = beginning.get(id);
      if (other !== undefined) {
        // What comes of one message holds for another with its id that comes meanwhile.
        const begun = await other;
        return begun.outcome === "started" ? { ...begun, outcome: "running" } : begun;
      }
      const begun = beginOne(id, text).finally(() => beginning.delete(id));
      beginning.set(id, begun);
      return begun;
    },
  };
};
