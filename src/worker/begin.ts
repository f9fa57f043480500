import { AsyncLocalStorage } from "node:async_hooks";
import {
  Codec,
  isSuccess,
  type PromiseRecord,
  type Request,
  type ResonateHandle,
  type Response,
} from "@resonatehq/sdk";
import { isOwn } from "../resonate/answers.ts";
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
  /**
   * Resolves or rejects once the execution has ended, wherever it runs. Costs a request. Does neither where the server
   * does not tell of its end, because it has lost it: see lost-executions.ts.
   */
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

/** What a call of `begin` has found under its id. */
interface Found {
  readonly id: string;
  promise?: PromiseRecord;
  /** Whether its task was leased for the first time, by this call. */
  isNew?: boolean;
  /** To be called once this call has started its execution. */
  readonly onStarted: () => void;
}

const codec = new Codec();
const NEVER = new Promise<never>(() => {});

/** The status that the server gave, in an error of the SDK (exceptions.js of 0.11.5, which exports no class). */
const statusOf = (error: Error): number | undefined => {
  const found = "serverError" in error ? error.serverError : undefined;
  return found !== null && typeof found === "object" && "code" in found ? Number(found.code) : undefined;
};

/** What an execution ends with; a server's refusal to tell of its end is none. */
const untilEnded = async (result: Promise<unknown>): Promise<unknown> => {
  try {
    return await result;
  } catch (error) {
    if (statusOf(toError(error)) !== undefined) return NEVER;
    throw error;
  }
};

/** An error of the SDK itself: what it cannot encode, decode or find will not change. */
const isOwnFault = (error: Error): boolean => error.name === "ResonateError" && statusOf(error) === undefined;

/**
 * `beginRun`, with what it found: the SDK gives the same handle for an execution that was started, runs elsewhere, has
 * finished or has failed, and for a promise of somebody else. The server's answers tell them apart.
 */
export const createBegin = ({ name, beginRun, assertFit }: BeginOptions): Beginnings => {
  /** One for each call: the same id may be asked for twice at the same moment. */
  const asking = new AsyncLocalStorage<Found>();

  const note = (promise: PromiseRecord, isNew: boolean): Found | undefined => {
    const found = asking.getStore();
    return found?.id === promise.id ? Object.assign(found, { promise, isNew }) : undefined;
  };
  const judge = ({ promise, isNew }: Found): Omit<Begun, "ended"> => {
    if (promise === undefined) return { outcome: "started" };
    if (decodeCall(promise.param).func !== name)
      return { outcome: "taken", service: promise.tags[SERVICE_TAG] };
    if (isNew) return { outcome: "started" };
    if (promise.state === "pending") return { outcome: "running" };
    if (promise.state === "resolved") return { outcome: "finished" };
    return { outcome: "failed", error: codec.decode(promise.value) };
  };
  const judgeFailure = async (found: Found, thrown: unknown): Promise<Begun> => {
    const error = toError(thrown);
    const status = statusOf(error);
    const isTaken = status === 422 || judge(found).outcome === "taken";
    if (isTaken)
      return { outcome: "taken", service: found.promise?.tags[SERVICE_TAG], ended: async () => {} };
    if (!(error instanceof RefusedError) && (status === undefined ? !isOwnFault(error) : !isRefusal(status)))
      throw error;
    await assertFit();
    throw error instanceof RefusedError ? error : new RefusedError(status ?? 0, error.message);
  };

  return {
    onAnswer: (request, response) => {
      if (!isSuccess(response)) return;
      if (response.kind === "promise.register_listener") note(response.data.promise, false);
      if (request.kind !== "task.create" || response.kind !== "task.create") return;
      const { task, promise } = response.data;
      // The first lease of a task is that of its creation, or of somebody else's task that nobody had taken yet.
      const isNew = task?.state === "acquired" && task.version <= 1;
      const found = note(promise, isNew);
      if (isNew && isOwn(request, promise)) found?.onStarted();
    },
    begin: async (id, text) => {
      const started = Promise.withResolvers<"started">();
      const found: Found = { id, onStarted: () => started.resolve("started") };
      try {
        const running = asking.run(found, () => beginRun(id, text));
        const ended = async () => untilEnded((await running).result());
        // It may be a while until the SDK begins to run what is started: see make-way.ts.
        const outcome = await Promise.race([started.promise, running]);
        return outcome === "started" ? { outcome, ended } : { ...judge(found), ended };
      } catch (error) {
        return await judgeFailure(found, error);
      }
    },
  };
};
