import type { StepCall } from "./step-call.ts";

/** The deadline of an execution has passed. No retry of the same execution can help. */
export class ExecutionTimeoutError extends Error {
  readonly code = "EXECUTION_TIMEOUT";
  readonly canRetry = false;
  override name = "ExecutionTimeoutError";
}

/**
 * Asserts that there is still time for a step, at `now` in milliseconds since 1970.
 *
 * @throws {ExecutionTimeoutError}
 */
export const assertInTime = ({ name, messageId, deadline, untilDone }: StepCall, now: number): void => {
  if (now <= deadline || untilDone) return;
  const by = new Date(deadline).toISOString();
  throw new ExecutionTimeoutError(`expected ${messageId} to be done by ${by}, got to step ${name}`);
};
