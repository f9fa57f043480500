import { Codec, isSuccess, type Request, type Response, type Send } from "@resonatehq/sdk";

/** The server refuses a request for good: the same one will be refused again. `message` holds its own words. */
export class RefusedError extends Error {
  readonly code = "REFUSED";
  readonly canRetry = false;
  /** HTTP status: 4xx. */
  readonly status: number;
  constructor(status: number, words: string) {
    super(`the Resonate server refuses this (${status}): ${words}`);
    this.name = "RefusedError";
    this.status = status;
  }
}

/** Statuses of the protocol that say something of an execution, and those that a token or time may change. */
const NOT_FOR_GOOD: ReadonlySet<number> = new Set([401, 403, 404, 408, 409, 425, 429]);

/** Whether a status means that the same request will always be refused. */
export const isRefusal = (status: number): boolean =>
  status >= 400 && status < 500 && !NOT_FOR_GOOD.has(status);

const codec = new Codec();

/** The refusal in an answer to a request under a lease, if it is one: of the request, or of the action in it. */
const findRefusal = (response: Response): RefusedError | undefined => {
  if (response.kind === "task.fence" && isSuccess(response)) {
    const { head, data } = response.data.action;
    return isRefusal(head.status) ? new RefusedError(head.status, String(data)) : undefined;
  }
  return isRefusal(response.head.status)
    ? new RefusedError(response.head.status, String(response.data))
    : undefined;
};

/**
 * Makes a failed execution of one that the server refuses to go on with: else the SDK (0.11.5) hands it back, the
 * server hands it out again, and so on for ever.
 *
 * A step or sleep that may not begin has failed as if it had run: the workflow sees the refusal as its error. A result
 * that may not be stored is replaced by the refusal, so that the step has failed on every replay, too.
 *
 * @param assertFit throws when the server refuses what every worker asks: then it is the server that has changed, and
 *   no execution has failed
 */
export const failOnRefusal = (send: Send, assertFit: () => Promise<void>): Send => {
  const failed = (refusal: RefusedError) => ({ state: "rejected" as const, value: codec.encode(refusal) });

  const retold: Send = async (typed) => {
    const request: Request = typed;
    const response = await send(typed);
    const refusal = findRefusal(response);
    if (refusal === undefined || (request.kind !== "task.fulfill" && request.kind !== "task.fence"))
      return response;
    await assertFit();
    if (request.kind === "task.fulfill") {
      const { action } = request.data;
      await send({
        ...request,
        data: { ...request.data, action: { ...action, data: { ...action.data, ...failed(refusal) } } },
      });
      return response;
    }
    const { action } = request.data;
    if (action.kind === "promise.settle") {
      const data = { ...action.data, ...failed(refusal) };
      await send({ ...request, data: { ...request.data, action: { ...action, data } } });
      // This run has seen the result. The next one sees the failure that is stored.
      throw refusal;
    }
    const { id, param, tags, timeoutAt } = action.data;
    const now = Date.now();
    const promise = { id, param, tags, timeoutAt, createdAt: now, settledAt: now, ...failed(refusal) };
    const answer: Response = {
      kind: "task.fence",
      head: { ...response.head, status: 200 },
      data: {
        action: { kind: "promise.create", head: { ...response.head, status: 200 }, data: { promise } },
        preload: [],
      },
    };
    return answer as typeof response;
  };
  return retold;
};
