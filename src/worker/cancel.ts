import { Codec, type PromiseRecord, type Value } from "@resonatehq/sdk";

/** Somebody has cancelled the execution: it ends at this checkpoint. */
export class CancelledError extends Error {
  readonly code = "CANCELLED";
  readonly canRetry = false;
  override name = "ExecutionCancelledError";
}

/** Whether an execution ended because it was cancelled. The SDK's codec keeps no class and no code, only the name. */
export const isCancelled = (error: unknown): boolean =>
  error instanceof Error && error.name === "ExecutionCancelledError";

/** Tag of a mark: whoever takes up the execution next is to end it. */
const CANCELLED_TAG = "cancelled";

/** How long a mark is pending, in milliseconds: nobody waits for it. */
const MARK_MS = 60_000;

/**
 * The mark to create so that an execution which no worker holds ends when one takes it up: it stands on the execution's
 * branch, so it comes along with the lease.
 */
export const cancelMark = (executionId: string, now: number) => ({
  id: `${executionId}:cancelled`,
  timeoutAt: now + MARK_MS,
  param: { headers: {}, data: "" },
  tags: {
    "resonate:branch": executionId,
    "resonate:parent": executionId,
    "resonate:origin": executionId.split(":", 1)[0] ?? executionId,
    [CANCELLED_TAG]: "true",
  },
});

/** Whether a promise is no checkpoint, but the mark of an execution that is to end. */
export const isCancelMark = (promise: PromiseRecord | undefined): boolean =>
  promise?.tags[CANCELLED_TAG] !== undefined;

/** Whether a promise on an execution's branch says that the execution is to end. */
export const endsExecution = (promise: PromiseRecord | undefined): boolean =>
  isCancelMark(promise) || promise?.state === "rejected_canceled";

const codec = new Codec();

/** How to settle the step or sleep that an execution waits for, to end the execution there. */
export const cancelSettlement = (): { readonly state: "rejected_canceled"; readonly value: Value } => ({
  state: "rejected_canceled",
  value: codec.encode(new CancelledError("cancelled")),
});
