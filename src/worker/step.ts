import { setTimeout } from "node:timers/promises";
import { canRetry, describe, OutageError, toError } from "../support/errors.ts";
import type { Log } from "../support/log.ts";
import { createSemaphore } from "../support/semaphore.ts";
import { assertInTime } from "./deadline.ts";
import { assertJson } from "./result.ts";
import { patienceInOutage, pauseAfter } from "./retry-policy.ts";
import type { StepCall } from "./step-call.ts";
import { tell } from "./telemetry.ts";

const NEVER = new Promise<never>(() => {});

/** How a call of a step stands: it waits for room, it runs, or it waits for its next try. */
interface Standing {
  readonly executionId: string;
  state: "waiting" | "running" | "paused";
}

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
  /**
   * The version of the lease under which an execution runs here, if it does. A step is tried again under its own lease
   * only.
   */
  readonly leaseOf?: (executionId: string) => number | undefined;
  /** Throws where a step was cancelled after its failed try number `attempt`. */
  readonly assertWanted?: (executionId: string, key: string, attempt: number) => Promise<void>;
  /** Told of each try of a step, from 1, by its idempotency key. */
  readonly onAttempt?: (key: string, attempt: number) => void;
  /** Told the idempotency key of a step that another worker is to go on with. */
  readonly onGivenUp?: (key: string) => void;
  /**
   * Hands back an execution that another worker is to go on with: when an outage has kept a step from its end for too
   * long, and at a stop.
   */
  readonly handBack?: (executionId: string) => void;
  /** How often an execution was handed back. */
  readonly handBacksOf?: (executionId: string) => number;
  readonly log: Log;
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
  /**
   * Lets running steps end, and tries no other step from here on. An execution is handed back at once if none of its
   * steps runs, and else when the one that runs fails.
   */
  drain(): void;
}

export const createStepRunner = ({
  concurrency,
  maxAttempts,
  retryDelayMs,
  now,
  sleep = setTimeout,
  leaseOf = () => 1,
  assertWanted = async () => {},
  onAttempt = () => {},
  onGivenUp = () => {},
  handBack = () => {},
  handBacksOf = () => 0,
  log,
}: StepRunnerOptions): StepRunner => {
  const room = createSemaphore(concurrency);
  const standing = new Set<Standing>();
  const executionsOf = (...states: Standing["state"][]) =>
    [...standing].filter(({ state }) => states.includes(state)).map(({ executionId }) => executionId);
  let draining = false;

  /** One try; `undefined` where the worker stops before it begins. */
  const runOnce = async <R>(
    own: Standing,
    call: StepCall,
    work: () => Promise<R>,
    onBegun: () => void,
  ): Promise<{ result: R } | undefined> => {
    if (draining) return;
    own.state = "waiting";
    await room.acquire();
    try {
      if (draining) return;
      own.state = "running";
      onBegun();
      assertInTime(call, now());
      return { result: assertJson(`step ${call.name}`, await work()) };
    } finally {
      own.state = "paused";
      room.release();
    }
  };

  /** All tries; `undefined` where another worker is to go on. */
  const runUntilDone = async <R>(
    own: Standing,
    call: StepCall,
    work: (attempt: number) => Promise<R>,
  ): Promise<{ result: R } | undefined> => {
    let failures = 0;
    let outageSince: number | undefined;
    const { name: step, key, messageId: id, executionId } = call;
    const lease = leaseOf(executionId);
    for (let attempt = 1; ; attempt++) {
      const told = { id, executionId, step, key, attempt };
      let begunAt = now();
      const begin = () => {
        begunAt = now();
        onAttempt(key, attempt);
        tell("step.begun", told);
      };
      try {
        const done = await runOnce(own, call, () => work(attempt), begin);
        if (done) tell("step.ended", { ...told, result: "done", ms: now() - begunAt });
        return done;
      } catch (thrown) {
        const error = toError(thrown);
        const ms = now() - begunAt;
        // An outage is nobody's failure: what is away comes back, and the step is tried until then.
        if (!(error instanceof OutageError)) {
          failures += 1;
          outageSince = undefined;
        } else {
          outageSince ??= begunAt;
          if (now() - outageSince >= patienceInOutage(handBacksOf(executionId))) handBack(executionId);
        }
        if (!call.untilDone && (!canRetry(error) || failures >= maxAttempts)) {
          tell("step.ended", { ...told, result: "failed", error: describe(error), ms });
          throw error;
        }
        const delayMs = draining ? 0 : pauseAfter(error, attempt, retryDelayMs);
        tell("step.retried", { ...told, error: describe(error), delayMs, ms });
        const next = draining ? "another worker tries next" : `next try in ${delayMs / 1000} s`;
        log.warn(
          { recordId: id, step, key, attempt },
          `step ${step} of ${id} failed (attempt ${attempt}), ${next}: ${describe(error)}`,
        );
        if (draining) return;
        await sleep(delayMs);
        if (leaseOf(executionId) !== lease) return;
        await assertWanted(executionId, key, attempt);
      }
    }
  };

  return {
    get running() {
      return executionsOf("running").length;
    },
    get waiting() {
      return executionsOf("waiting").length;
    },
    run: async (call, work) => {
      const own: Standing = { executionId: call.executionId, state: "waiting" };
      standing.add(own);
      try {
        const done = await runUntilDone(own, call, work);
        if (done) return done.result;
        onGivenUp(call.key);
        if (draining && !executionsOf("running").includes(call.executionId)) handBack(call.executionId);
      } finally {
        standing.delete(own);
      }
      // The SDK waits for a step that does not end here any more, and so does nobody else.
      return NEVER;
    },
    drain: () => {
      draining = true;
      const idle = new Set(executionsOf("waiting", "paused")).difference(new Set(executionsOf("running")));
      for (const executionId of idle) handBack(executionId);
    },
  };
};
