import { isSuccess, type Send } from "@resonatehq/sdk";
import type { History } from "../resonate/history.ts";
import { requestHead } from "../resonate/request.ts";
import { CancelledError, endsExecution } from "./cancel.ts";
import { KEY_TAG } from "./checkpoint.ts";

/** The server is asked before each so many-th try of a step: a step that fails and fails would never hear of it. */
const EVERY = 4;

export interface CancelWatchOptions {
  readonly send: Send;
  readonly history: Pick<History, "find" | "idsOf">;
}

/**
 * Makes what looks, after the pause behind a failed try of a step, whether it was cancelled meanwhile.
 *
 * @returns to be called with the execution's id, the step's idempotency key and the number of the try; it throws
 * {CancelledError} when it was
 */
export const createCancelWatch =
  ({ send, history }: CancelWatchOptions) =>
  async (executionId: string, key: string, attempt: number): Promise<void> => {
    if (attempt % EVERY !== 0) return;
    const id = history
      .idsOf(executionId)
      .find((promiseId) => history.find(executionId, promiseId)?.tags[KEY_TAG] === key);
    if (id === undefined) return;
    // A server that is away is no reason to stop.
    const found = await send({ kind: "promise.get", head: requestHead(), data: { id } }).catch(
      () => undefined,
    );
    if (found && isSuccess(found) && endsExecution(found.data.promise)) throw new CancelledError("cancelled");
  };
