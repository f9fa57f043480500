/** One call of a step. */
export interface StepCall {
  readonly name: string;
  /** Its idempotency key. */
  readonly key: string;
  readonly messageId: string;
  readonly executionId: string;
  /** Milliseconds since 1970 after which the step is not tried. */
  readonly deadline: number;
  /** Tried for as long as it takes, whatever it throws and however late it is. */
  readonly untilDone?: boolean;
}
