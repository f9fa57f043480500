import { setTimeout } from "node:timers/promises";
import { canRetry, describe, OutageError, toError } from "../support/errors.ts";
import type { Log } from "../support/log.ts";
import { createSemaphore } from "../support/semaphore.ts";
import { tell } from "./telemetry.ts";

/** The deadline of an execution has passed. No retry of the same execution can help. */
export class ExecutionTimeoutError extends Error {
  readonly code = "EXECUTION_TIMEOUT";
  readonly canRetry = false;
  override name = "ExecutionTimeoutError";
}

/** A step's or workflow's result that has no JSON form, so it could not be kept. */
export class ResultError extends Error {
  readonly code = "RESULT_NOT_JSON";
  readonly canRetry = false;
  override name = "ResultError";
}

/** The longest pause between two tries of a step, in milliseconds. */
const MAX_RETRY_DELAY_MS = 30_000;

/** The longest pause between two tries in an outage, in milliseconds: it is over from one moment to the next. */
const MAX_OUTAGE_DELAY_MS = 5000;

/**
 * How long an outage may keep a step from its end before another worker is to try, in milliseconds: what is away here
 * may be there for others. It doubles each time an execution is handed back, so that an outage of a day leaves some
 * forty notes of that at the server, and not thousands.
 */
const OUTAGE_PATIENCE_MS = 10_000;
const MAX_DOUBLINGS = 8;

const NEVER = new Promise<never>(() => {});

export interface StepRunnerOptions {
  /** How many steps run at the same time. */
  readonly concurrency: number;
  readonly maxAttempts: number;
  /** Before the first retry, in milliseconds. */
  readonly retryDelayMs: number;
  /** Milliseconds since 1970. */
  readonly now: () => number;
  /** Waits so many milliseconds. */
  readonly sleep?: (ms: number) => Promise<unknown>;
  /** Whether an execution still runs here. One whose lease went to another worker is not tried again. */
  readonly isOurs?: (executionId: string) => boolean;
  /** Throws where a step was cancelled after its failed try number `attempt`. */
  readonly assertWanted?: (executionId: string, key: string, attempt: number) => Promise<void>;
  /** Told of each try of a step, from 1, by its idempotency key. */
  readonly onAttempt?: (key: string, attempt: number) => void;
  /** Told when an outage has kept a step from its end for OUTAGE_PATIENCE_MS, doubled by each hand-back before. */
  readonly onOutage?: (executionId: string) => void;
  /** How often an execution was handed back. */
  readonly handBacksOf?: (executionId: string) => number;
  readonly log: Log;
}

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

/** Puts around every step what every step needs: room, the deadline, retries with backoff, and their log line. */
export interface StepRunner {
  /** Steps that run now: not those that wait for room or for their next try. */
  readonly running: number;
  /** Steps that wait for room. */
  readonly waiting: number;
  /**
   * Runs a step until it succeeds or fails for good. `work` gets the number of the try, from 1.
   *
   * @returns its result
   * @throws {ExecutionTimeoutError} when the deadline has passed
   * @throws {ResultError} when its result has no JSON form
   * @throws what `work` threw, when that says that a retry cannot help, or on its last attempt
   */
  run<R>(call: StepCall, work: (attempt: number) => Promise<R>): Promise<R>;
}

/**
 * Asserts that a result has a JSON form.
 *
 * @throws {ResultError}
 */
export const assertJson = <R>(what: string, result: R): R => {
  try {
    JSON.stringify(result);
    return result;
  } catch (error) {
    throw new ResultError(`expected a result of ${what} that JSON can hold, got ${describe(error)}`, {
      cause: error,
    });
  }
};

export const createStepRunner = ({
  concurrency,
  maxAttempts,
  retryDelayMs,
  now,
  sleep = setTimeout,
  isOurs = () => true,
  assertWanted = async () => {},
  onAttempt = () => {},
  onOutage = () => {},
  handBacksOf = () => 0,
  log,
}: StepRunnerOptions): StepRunner => {
  const room = createSemaphore(concurrency);
  let running = 0;
  let waiting = 0;

  const runOnce = async <R>(
    { name, messageId, deadline, untilDone }: StepCall,
    work: () => Promise<R>,
    onBegun: () => void,
  ): Promise<R> => {
    waiting += 1;
    await room.acquire();
    waiting -= 1;
    running += 1;
    onBegun();
    try {
      if (now() > deadline && !untilDone) {
        const by = new Date(deadline).toISOString();
        throw new ExecutionTimeoutError(`expected ${messageId} to be done by ${by}, got to step ${name}`);
      }
      return assertJson(`step ${name}`, await work());
    } finally {
      running -= 1;
      room.release();
    }
  };

  return {
    get running() {
      return running;
    },
    get waiting() {
      return waiting;
    },
    run: async (call, work) => {
      let failures = 0;
      let outageSince: number | undefined;
      const { name: step, key, messageId: id, executionId } = call;
      for (let attempt = 1; ; attempt++) {
        const told = { id, executionId, step, key, attempt };
        let begunAt = now();
        const begin = () => {
          begunAt = now();
          onAttempt(key, attempt);
          tell("step.begun", told);
        };
        try {
          const result = await runOnce(call, () => work(attempt), begin);
          tell("step.ended", { ...told, result: "done", ms: now() - begunAt });
          return result;
        } catch (thrown) {
          const error = toError(thrown);
          const ms = now() - begunAt;
          // An outage is nobody's failure: what is away comes back, and the step is tried until then.
          if (!(error instanceof OutageError)) {
            failures += 1;
            outageSince = undefined;
          } else {
            outageSince ??= begunAt;
            const patienceMs = OUTAGE_PATIENCE_MS * 2 ** Math.min(handBacksOf(executionId), MAX_DOUBLINGS);
            if (now() - outageSince >= patienceMs) onOutage(executionId);
          }
          if (!call.untilDone && (!canRetry(error) || failures >= maxAttempts)) {
            tell("step.ended", { ...told, result: "failed", error: describe(error), ms });
            throw error;
          }
          const maxDelay = error instanceof OutageError ? MAX_OUTAGE_DELAY_MS : MAX_RETRY_DELAY_MS;
          const delay = Math.min(retryDelayMs * 2 ** (attempt - 1), maxDelay);
          tell("step.retried", { ...told, error: describe(error), delayMs: delay, ms });
          log.warn(
            { recordId: id, step, key, attempt },
            `step ${call.name} of ${call.messageId} failed (attempt ${attempt}), next try in ${delay / 1000} s: ${describe(error)}`,
          );
          await sleep(delay);
          // The SDK waits for a step that does not end here any more, and so does nobody else.
          if (!isOurs(executionId)) return NEVER;
          await assertWanted(executionId, key, attempt);
        }
      }
    },
  };
};
