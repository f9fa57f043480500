import { isSuccess, type PromiseRecord, type Request, type Response } from "@resonatehq/sdk";
import { decodeCall } from "../resonate/call.ts";
import { INTERNAL_ID } from "../resonate/request.ts";
import { KEY_TAG, WORKER_TAG } from "./checkpoint.ts";
import { tell } from "./telemetry.ts";

/** The id of the message that an execution works on. */
const messageIdOf = (executionId: string): string =>
  executionId.split(":", 1)[0]?.split(INTERNAL_ID, 1)[0] ?? executionId;

const of = (executionId: string) => ({ id: messageIdOf(executionId), executionId });

/** The step that another worker had begun and not ended, among what is recorded of an execution. */
const findCutStep = (recorded: readonly PromiseRecord[], worker: string): PromiseRecord | undefined =>
  recorded.find(({ state, tags }) => {
    const by = tags[WORKER_TAG];
    return state === "pending" && by !== undefined && by !== worker;
  });

/** When the last of the sleeps ends that an execution waits for, in milliseconds since 1970. */
const wakesAt = (
  request: Extract<Request, { kind: "task.suspend" }>,
  find: (id: string) => PromiseRecord | undefined,
) => {
  const timers = request.data.actions.map(({ data }) => find(data.awaited)?.timeoutAt ?? 0);
  const until = Math.max(...timers);
  return until > 0 ? { until } : {};
};

export interface ExecutionEventsOptions {
  /** The name of this worker. */
  readonly worker: string;
  /** What is recorded of an execution. */
  readonly find: (executionId: string, promiseId: string) => PromiseRecord | undefined;
}

/** Tells what becomes of executions, by the answers of the server as they pass. */
export const createExecutionEvents = ({ worker, find }: ExecutionEventsOptions) => {
  /** Executions whose lease this worker has: a loss shows in every answer that follows, and is told once. */
  const leased = new Set<string>();

  const onLease = (response: Extract<Response, { kind: "task.create" | "task.acquire" }>) => {
    if (!isSuccess(response)) return;
    const { task, promise, preload } = response.data;
    if (task?.state !== "acquired" || promise.tags["resonate:timer"] === "true") return;
    leased.add(task.id);
    const own = of(task.id);
    if (response.kind === "task.create" && task.version === 1) return tell("execution.started", own);
    tell("execution.resumed", { ...own, lease: task.version });
    const cut = findCutStep(preload ?? [], worker);
    if (cut === undefined) return;
    const from = cut.tags[WORKER_TAG] ?? "";
    const step = decodeCall(cut.param).func;
    tell("execution.taken-over", { ...own, from, step, key: cut.tags[KEY_TAG] ?? "" });
  };

  /** To be told of each request and its answer, `undefined` where there was none, and of the milliseconds it took. */
  return (request: Request, response: Response | undefined, ms: number): void => {
    const status = response?.head.status ?? 0;
    tell("request.ended", { kind: request.kind, status, ms });
    if (response === undefined) {
      // Even unanswered: this worker has left it.
      if (request.kind === "task.release") leased.delete(request.data.id);
      return;
    }
    if (response.kind === "task.create" || response.kind === "task.acquire") onLease(response);
    const { kind } = request;
    if (
      kind !== "task.suspend" &&
      kind !== "task.fulfill" &&
      kind !== "task.fence" &&
      kind !== "task.release"
    )
      return;
    const own = of(request.data.id);
    const isLost = status === 404 || status === 409;
    const isGivenUp = kind === "task.release" || (kind !== "task.fence" && isSuccess(response));
    if ((isLost || isGivenUp) && leased.delete(request.data.id) && isLost) tell("lease.lost", own);
    if (!isSuccess(response)) return;
    if (kind === "task.release") tell("execution.handed-back", own);
    if (kind === "task.suspend") {
      tell("execution.suspended", { ...own, ...wakesAt(request, (id) => find(request.data.id, id)) });
    }
    if (response.kind === "task.fulfill") {
      const { state, createdAt, settledAt } = response.data.promise;
      const outcome = state === "resolved" ? "finished" : "failed";
      const isWhole = !own.executionId.includes(":");
      tell("execution.ended", { ...own, isWhole, outcome, ms: (settledAt ?? createdAt) - createdAt });
    }
  };
};
