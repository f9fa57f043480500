import { isResponse, isSuccess, type PromiseRecord, type Request, type Response } from "@resonatehq/sdk";
import { decodeValue } from "./call.ts";

/**
 * Whether this is a proper answer to `request`. The shape alone is not enough: @resonatehq/sdk 0.11.5 ends the process
 * (`util.assert`) when it is handed a lease that is none, or told that a promise it has settled is pending.
 */
export const isAnswer = <K extends Request["kind"]>(
  response: unknown,
  request: Extract<Request, { kind: K }>,
): response is Extract<Response, { kind: K }> =>
  isResponse(response) &&
  response.kind === request.kind &&
  response.head.corrId === request.head.corrId &&
  (!isSuccess(response) || keepsWord(request, response));

const keepsWord = (request: Request, response: Response): boolean => {
  if (!isSuccess(response)) return true;
  switch (response.kind) {
    case "task.acquire":
      return request.kind === "task.acquire" && isLease(response.data.task, request.data.id);
    case "promise.settle":
      return response.data.promise.state !== "pending";
    case "task.fence": {
      const { action } = response.data;
      if (request.kind !== "task.fence" || action.kind !== request.data.action.kind) return false;
      return (
        action.kind !== "promise.settle" || !isSuccess(action) || action.data.promise.state !== "pending"
      );
    }
    default:
      return true;
  }
};

/** What the types of the SDK promise of a task, its guards do not check. */
const isLease = (task: unknown, id: string): boolean =>
  typeof task === "object" &&
  task !== null &&
  "id" in task &&
  task.id === id &&
  "state" in task &&
  task.state === "acquired" &&
  "version" in task &&
  typeof task.version === "number";

/** Whether a promise holds what the request that created its task has sent. */
export const isOwn = (request: Request, promise: PromiseRecord): boolean =>
  request.kind === "task.create" && request.data.action.data.param.data === promise.param.data;

/** Whether the SDK can look for the function of this execution: a version that is no whole number ends the process. */
const isCallable = (promise: PromiseRecord): boolean => {
  try {
    const call = decodeValue(promise.param);
    if (typeof call !== "object" || call === null || !("version" in call)) return true;
    const { version } = call;
    return version === undefined || (Number.isInteger(version) && Number(version) >= 0);
  } catch {
    return true;
  }
};

/** Makes of an execution that would end the process one that merely cannot be read. */
export const takePoison = (request: Request, response: Response): void => {
  if (response.kind !== "task.acquire" && response.kind !== "task.create") return;
  if (!isSuccess(response)) return;
  const { promise } = response.data;
  if (!isOwn(request, promise) && !isCallable(promise))
    response.data.promise = { ...promise, param: { headers: {}, data: "" } };
};

/**
 * Drops what is recorded of an execution from the answer to a checkpoint: the SDK (0.11.5) decodes all of it each time,
 * and has had it since the lease was granted.
 */
export const dropKnown = (response: Response): void => {
  if (response.kind === "task.fence" && isSuccess(response)) response.data.preload = [];
};
