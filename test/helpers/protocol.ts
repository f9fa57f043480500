import type { Request } from "@resonatehq/sdk";
import type { ResonateProxy } from "../../src/demo/resonate-proxy.ts";
import { type RunningSteps, watchRunningSteps } from "../../src/demo/running-steps.ts";
import type { WorkerProcess } from "../../src/demo/worker-process.ts";
import { decodeCall } from "../../src/resonate/call.ts";
import { KEY_TAG } from "../../src/worker/checkpoint.ts";

/** A step as its promise has it, and where it stands. */
export interface PassingStep {
  /** The id of its promise. */
  readonly id: string;
  readonly name: string;
  /** Its idempotency key. */
  readonly key: string;
  readonly phase: "begin" | "end";
}

/** A request on its way from a worker to the server, and what it means to the workflow. */
export interface Passing {
  readonly request: Request;
  /** The worker that holds the execution, as far as it was seen. */
  readonly worker: string | undefined;
  /** The id of the message that the execution works on. */
  readonly recordId: string;
  /** Set where a step begins (its promise is created) or ends (its checkpoint is written). */
  readonly step?: PassingStep;
}

/** Called with each request; it goes on when the promise resolves, and is lost when it rejects. */
export type OnPassing = (passing: Passing) => Promise<void> | void;

/** Thrown by a hook to lose the request it was called with. */
export class Lost extends Error {}

const recordOf = (id: string) => id.split(":", 1)[0] ?? id;

/** Calls `before` with each request on its way to the server and `after` with each that was answered. */
export const follow = (
  proxy: ResonateProxy,
  {
    before,
    after,
  }: { before?: OnPassing; after?: (passing: Passing, status: number) => Promise<void> | void },
): void => {
  const holders = new Map<string, string>();
  const steps = new Map<string, Omit<PassingStep, "phase">>();
  const understand = (request: Request): Passing => {
    if (request.kind === "task.create") {
      const { action, pid } = request.data;
      return { request, worker: pid, recordId: action.data.id };
    }
    if (request.kind === "task.acquire") {
      const { id, pid } = request.data;
      return { request, worker: pid, recordId: recordOf(id) };
    }
    if (request.kind === "task.fence") {
      const { id: task, action } = request.data;
      const { id } = action.data;
      if (action.kind === "promise.create" && action.data.tags["resonate:scope"] === "local") {
        const { param, tags } = action.data;
        steps.set(id, { id, name: decodeCall(param).func, key: tags[KEY_TAG] ?? "" });
      }
      const step = steps.get(id);
      const phase = action.kind === "promise.create" ? "begin" : "end";
      const passing = { request, worker: holders.get(task), recordId: recordOf(task) };
      return step === undefined ? passing : { ...passing, step: { ...step, phase } };
    }
    const id = "id" in request.data ? request.data.id : "";
    return { request, worker: holders.get(id), recordId: recordOf(id) };
  };
  proxy.onRequest = async (request) => before?.(understand(request));
  proxy.onAnswer = async (request, status) => {
    // Only a lease that was granted makes a holder: a second message of a record asks for one in vain.
    if (status === 200 && request.kind === "task.create")
      holders.set(request.data.action.data.id, request.data.pid);
    if (status === 200 && request.kind === "task.acquire") holders.set(request.data.id, request.data.pid);
    await after?.(understand(request), status);
  };
};

/** What a worker was killed at. */
export interface Killed {
  readonly passing: Passing;
  readonly at: number;
}

/**
 * Kills a worker with SIGKILL the first time a request matches, before the server gets it, or, with `answered`, after
 * the server has acted on it and before the worker knows. Resolves once the process is dead.
 */
export const killAt = (
  proxy: ResonateProxy,
  worker: WorkerProcess,
  matches: (passing: Passing) => boolean,
  { answered = false } = {},
): Promise<Killed> => {
  const { promise, resolve } = Promise.withResolvers<Killed>();
  let armed = true;
  const onPassing = async (passing: Passing) => {
    if (!armed || !matches(passing)) return;
    armed = false;
    worker.kill("SIGKILL");
    await worker.exited;
    resolve({ passing, at: Date.now() });
    throw new Lost("the worker is dead");
  };
  follow(proxy, answered ? { after: onPassing } : { before: onPassing });
  return promise;
};

/** Whether a request begins or ends the step `name`, or the one call of it that has the idempotency key `key`. */
export const isStep =
  (name: string, phase: "begin" | "end", key?: string) =>
  ({ step }: Passing): boolean =>
    step?.name === name && step.phase === phase && (key === undefined || step.key === key);

/** A request that was stopped on its way to the server. */
export interface Held {
  readonly passing: Passing;
  /** When it arrived at the proxy. */
  readonly at: number;
  /** Lets it go on to the server; resolves with the status of the answer. */
  release(): Promise<number>;
}

/** Holds the first request that matches; `watch` sees all of them, the held one too, and their answers. */
export const holdAt = (
  proxy: ResonateProxy,
  matches: (passing: Passing) => boolean | Promise<boolean>,
  watch: { before?: OnPassing; after?: (passing: Passing, status: number) => Promise<void> | void } = {},
): Promise<Held> => {
  const held = Promise.withResolvers<Held>();
  const gate = Promise.withResolvers<void>();
  const answered = Promise.withResolvers<number>();
  let stopped: Request | undefined;
  follow(proxy, {
    before: async (passing) => {
      await watch.before?.(passing);
      if (stopped !== undefined || !(await matches(passing))) return;
      // Another one may have matched meanwhile.
      if (stopped !== undefined) return;
      stopped = passing.request;
      const release = () => {
        gate.resolve();
        return answered.promise;
      };
      held.resolve({ passing, at: Date.now(), release });
      await gate.promise;
    },
    after: async (passing, status) => {
      await watch.after?.(passing, status);
      if (passing.request === stopped) answered.resolve(status);
    },
  });
  return held.promise;
};

/** What `countExecutions` saw. */
export interface Executions extends Pick<RunningSteps, "executionsWith" | "at"> {
  /** How often each execution was started by a dispatch: answers that created it, by promise id. */
  readonly created: ReadonlyMap<string, number>;
  /** To be called with each answer. */
  readonly after: (passing: Passing, status: number) => Promise<void>;
}

/**
 * Counts executions by the requests of the protocol: a completion's idempotency key is the same whichever execution
 * published it.
 */
export const countExecutions = (): Executions => {
  const steps = watchRunningSteps();
  const created = new Map<string, number>();
  return {
    created,
    executionsWith: steps.executionsWith,
    at: steps.at,
    after: async ({ request }, status) => {
      await steps.onAnswer(request, status);
      if (request.kind !== "task.create" || status !== 200) return;
      const { id } = request.data.action.data;
      created.set(id, (created.get(id) ?? 0) + 1);
    },
  };
};
