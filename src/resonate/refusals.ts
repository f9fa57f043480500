import { Codec, isSuccess, type Request, type Response, type Send } from "@resonatehq/sdk";
import { requestHead } from "./request.ts";

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
  const { head, data } =
    response.kind === "task.fence" && isSuccess(response) ? response.data.action : response;
  return isRefusal(head.status) ? new RefusedError(head.status, String(data)) : undefined;
};

/** What an execution asks for as it comes further. */
type UnderLease = Extract<Request, { kind: "task.fulfill" | "task.fence" | "task.suspend" }>;

const isUnderLease = (request: Request): request is UnderLease =>
  request.kind === "task.fulfill" || request.kind === "task.fence" || request.kind === "task.suspend";

/**
 * Makes a failed execution of one that the server refuses to go on with, or something before the server: else the SDK
 * (0.11.5) hands it back, the server hands it out again, and so on for ever.
 *
 * A step or sleep that may not begin has failed as if it had run: the workflow sees the refusal as its error. A result
 * that may not be stored is replaced by the refusal, so that the step has failed on every replay, too. Where it may not
 * wait, what it would wait for has failed.
 *
 * @param assertFit throws when the server refuses what every worker asks: then it is the server that has changed, and
 *   no execution has failed
 */
export const failOnRefusal = (send: Send, assertFit: () => Promise<void>): Send => {
  const failed = (refusal: RefusedError) => ({ state: "rejected" as const, value: codec.encode(refusal) });

  /** What stands for the answer to a request that was refused. */
  const answer = async (request: UnderLease, refusal: RefusedError): Promise<Response | undefined> => {
    if (request.kind === "task.suspend") {
      // What it would wait for fails, and with it the execution when it is tried again.
      const { id, version, actions } = request.data;
      for (const { data } of actions) {
        const settled = { id: data.awaited, ...failed(refusal) };
        const action = { kind: "promise.settle" as const, head: requestHead(), data: settled };
        await send({ kind: "task.fence", head: requestHead(), data: { id, version, action } });
      }
      return;
    }
    if (request.kind === "task.fulfill") {
      const { action } = request.data;
      const data = { ...action.data, ...failed(refusal) };
      return send({ ...request, data: { ...request.data, action: { ...action, data } } });
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
    const { corrId, version } = request.head;
    const head = { corrId, version, status: 200 as const };
    const created = { kind: "promise.create" as const, head, data: { promise } };
    return { kind: "task.fence", head, data: { action: created, preload: [] } };
  };

  return async (typed) => {
    const ask = async () => {
      // What stands before the server refuses in words of its own, which are thrown.
      const outcome = await send(typed).catch((error: unknown) => {
        if (error instanceof RefusedError) return error;
        throw error;
      });
      return { outcome, refusal: outcome instanceof RefusedError ? outcome : findRefusal(outcome) };
    };
    let { outcome, refusal } = await ask();
    if (refusal !== undefined && isUnderLease(typed)) {
      await assertFit();
      // It may have refused everything until just now.
      ({ outcome, refusal } = await ask());
      const instead = refusal && (await answer(typed, refusal));
      if (instead !== undefined) return instead as Exclude<typeof outcome, RefusedError>;
    }
    if (outcome instanceof RefusedError) throw outcome;
    return outcome;
  };
};
