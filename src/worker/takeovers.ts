import type { PromiseRecord, Request, Send } from "@resonatehq/sdk";
import type { Connection } from "../resonate/connection.ts";
import { requestHead } from "../resonate/request.ts";
import { doneWithin } from "../support/retry.ts";
import { createSemaphore } from "../support/semaphore.ts";

/** Tag of a step's promise: which of the execution's leases began it. */
export const LEASE_TAG = "begun-under-lease";
/** Tag of a mark: the step that runs alone. */
const ALONE_TAG = "runs-alone";

/** One worker that dies is no sign against the steps that it ran: a step that is cut a second time is a suspect. */
const SUSPECT_AFTER = 2;
/** A suspect has its process for itself, as far as suspects go, for at most so many milliseconds. */
const ALONE_MS = 30_000;

/** A step was taken over unfinished again and again: it most likely kills the process it runs in. */
class PoisonError extends Error {
  readonly code = "POISON";
  readonly canRetry = false;
  override name = "PoisonError";
}

const markId = (executionId: string, lease: number) => `${executionId}:alone-${lease}`;

/** Whether a promise is no checkpoint, but the mark of a suspect. */
export const isMark = (promise: PromiseRecord | undefined): boolean => promise?.tags[ALONE_TAG] !== undefined;

export interface TakeoversOptions {
  /** Leads to the server, under the leases of this worker. */
  readonly send: Send;
  readonly history: Pick<Connection["history"], "leaseOf" | "find" | "handBacksSince" | "idsOf">;
}

/** A call of a step, as it is recorded. */
interface RecordedStep {
  readonly executionId: string;
  /** The id of its promise. */
  readonly promiseId: string;
  /** Its idempotency key. */
  readonly key: string;
  /** How often it may be begun. */
  readonly maxBegun: number;
}

/** Finds out which steps kill the process they run in, and ends them. */
export interface Takeovers {
  /**
   * Runs a step: `work` as it is, unless it was cut before.
   *
   * @throws {PoisonError} when it was begun `maxBegun` times and never came to an end
   */
  run<R>(step: RecordedStep, work: () => Promise<R>): Promise<R>;
  /** To be called before an execution is handed back: its step was not cut, whatever it is. */
  clear(lease: { readonly id: string; readonly version: number }): Promise<void>;
}

/**
 * A process that dies takes all of its running steps along, and the innocent look like the one that killed it. So a
 * step that was cut more than once is a suspect, and suspects run one at a time. Each is marked as it begins: at the
 * death of its process one suspect has a mark, and the others have none.
 */
export const createTakeovers = ({ send, history }: TakeoversOptions): Takeovers => {
  const alone = createSemaphore(1);

  const fence = (
    { id, version }: { readonly id: string; readonly version: number },
    action: Extract<Request, { kind: "task.fence" }>["data"]["action"],
  ) => send({ kind: "task.fence", head: requestHead(), data: { id, version, action } });

  /** Says whether the execution is still this worker's. A server that is away is no reason not to run it. */
  const mark = async (
    { executionId: id, promiseId }: RecordedStep,
    { tags = {}, timeoutAt = 0 }: Partial<PromiseRecord>,
    version: number,
  ): Promise<boolean> => {
    const own = {
      "resonate:origin": tags["resonate:origin"] ?? id,
      "resonate:branch": tags["resonate:branch"] ?? id,
      "resonate:parent": id,
      [ALONE_TAG]: promiseId,
    };
    const data = { id: markId(id, version), timeoutAt, param: { headers: {}, data: "" }, tags: own };
    try {
      const { head } = await fence({ id, version }, { kind: "promise.create", head: requestHead(), data });
      return head.status !== 404 && head.status !== 409;
    } catch {
      return true;
    }
  };

  return {
    run: async (step, work) => {
      const { executionId, promiseId, key, maxBegun } = step;
      const lease = history.leaseOf(executionId);
      const recorded = history.find(executionId, promiseId);
      const begunUnder = Number(recorded?.tags[LEASE_TAG] ?? lease);
      const cut = lease - begunUnder - history.handBacksSince(executionId, begunUnder);
      const suspectAfter = Math.min(SUSPECT_AFTER, maxBegun - 1);
      if (cut < suspectAfter) return work();

      const marks = history
        .idsOf(executionId)
        .map((id) => history.find(executionId, id))
        .filter((own) => own?.state === "pending" && own.tags[ALONE_TAG] === promiseId);
      const begun = suspectAfter + marks.length;
      if (begun >= maxBegun) {
        throw new PoisonError(
          `step ${key} was begun ${begun} times and never came to an end: it may kill its worker`,
        );
      }
      await alone.acquire();
      try {
        if (await mark(step, recorded ?? {}, lease)) {
          const running = work();
          await doneWithin(running, ALONE_MS).catch(() => {});
          return running;
        }
      } finally {
        alone.release();
      }
      // It is another worker's by now. The SDK waits for a step that does not end here any more, and would keep the
      // lease.
      const given = { id: executionId, version: lease };
      await send({ kind: "task.release", head: requestHead(), data: given }).catch(() => {});
      return new Promise<never>(() => {});
    },
    clear: async ({ id, version }) => {
      const own = markId(id, version);
      if (history.find(id, own) === undefined) return;
      const data = { id: own, state: "resolved" as const, value: { headers: {}, data: "" } };
      await fence({ id, version }, { kind: "promise.settle", head: requestHead(), data });
    },
  };
};
