import { type Context, Never, type PromiseRecord } from "@resonatehq/sdk";
import { checkpointId } from "../resonate/child-ids.ts";
import type { History } from "../resonate/history.ts";
import { sleep } from "../resonate/sleep.ts";
import { describe, toError } from "../support/errors.ts";
import { CancelledError, endsExecution, isCancelMark } from "./cancel.ts";
import { isMark, LEASE_TAG, type Takeovers } from "./takeovers.ts";
import { tell } from "./telemetry.ts";

/** Tag of a step's promise: its idempotency key. */
export const KEY_TAG = "idempotency-key";
/** Tag of a step's promise: the worker that began it. */
export const WORKER_TAG = "begun-by";
/** Tag of a durable sleep, the SDK's own. */
export const TIMER_TAG = "resonate:timer";

/** The SDK shows a step under the name of its function. */
const named = <F extends () => unknown>(name: string, work: F): F =>
  Object.defineProperty(work, "name", { value: name });

/** The error with what caused it in its message: the SDK's codec keeps name, message and stack, and no cause. */
const withCauses = (error: Error): Error =>
  error.cause === undefined
    ? error
    : Object.assign(new Error(describe(error), { cause: error }), { name: error.name });

export interface CheckpointOptions {
  /** What the server has recorded of the executions that run here. */
  readonly history: Pick<History, "leaseOf" | "find" | "handBacksSince" | "idsOf">;
  readonly takeovers: Pick<Takeovers, "run">;
  /** How often a step may be begun without an end before it has failed. */
  readonly maxTakeovers: number;
  /** The name of this worker. */
  readonly worker: string;
  /** The message that the execution works on. */
  readonly messageId: string;
}

interface RunOptions {
  /** How often it may be begun without an end before it has failed; `maxTakeovers` where it is not given. */
  readonly maxBegun?: number;
  /** Runs even where the execution is cancelled: it is how the execution ends. */
  readonly isLast?: boolean;
}

/** The checkpoints of one execution. */
export interface Checkpoints {
  /**
   * Runs `work` as a step, or gives its result from the checkpoint. `step` and `key` name it.
   *
   * @throws {CancelledError} when the execution is cancelled
   */
  run<R>(
    step: string,
    key: string,
    work: () => Promise<R>,
    options?: RunOptions,
  ): Generator<unknown, R, unknown>;
  /** @throws {CancelledError} when the execution is cancelled */
  sleep(ms: number): Generator<unknown, void, unknown>;
  /**
   * To be called before the workflow goes on in a fresh execution, which is recorded elsewhere. What is recorded behind
   * its place is what the workflow did once that execution had failed.
   *
   * @throws {CancelledError} when the execution is cancelled
   */
  goOn(): Generator<unknown, void, unknown>;
  /**
   * To be called when the workflow comes to its end: holds it to it that all that is recorded was passed.
   *
   * @throws {CancelledError} when the execution is cancelled
   */
  end(): Generator<unknown, void, unknown>;
}

/**
 * Makes the checkpoints of one execution, which hold its workflow to the way that is recorded.
 *
 * The SDK (0.11.5) matches steps by position alone: after a change of the workflow it would take what is recorded at a
 * position for the result of whatever stands there now. Here such an execution stops, unharmed, and waits for a worker
 * that has its own order. Can go once the SDK compares what it runs with what is recorded.
 */
export const createCheckpoints = (
  ctx: Context,
  { history, takeovers, maxTakeovers, worker, messageId }: CheckpointOptions,
): Checkpoints => {
  // Retries are the step runner's: the SDK could not tell an outage from a failure.
  const once = ctx.options({ retryPolicy: new Never() });
  const lease = history.leaseOf(ctx.id);
  const passed = new Set<string>();
  let isEnding = false;

  function* stop(what: string, recorded: PromiseRecord | undefined) {
    const was =
      recorded?.tags[KEY_TAG] ?? (recorded?.tags[TIMER_TAG] === "true" ? "a sleep" : "something else");
    const order = `the workflow of ${messageId} has come to ${what}, where ${was} is recorded`;
    tell("execution.order-changed", { id: messageId, executionId: ctx.id, reason: order });
    const remedy = "give a changed workflow another version";
    yield* ctx.panic(true, `${order}: its order has changed under version ${ctx.info.version}; ${remedy}`);
  }
  function* pass(promiseId: string, what: string, isSame: (promise: PromiseRecord) => boolean) {
    passed.add(promiseId);
    const recorded = history.find(ctx.id, promiseId);
    // A replay takes the way that is recorded, whenever the execution was cancelled.
    if (recorded && isSame(recorded)) return;
    // Steps follow one another: what is new comes behind all that is recorded.
    if (recorded === undefined) return yield* leave(what);
    heedCancel();
    yield* stop(what, recorded);
  }
  const findLeft = () =>
    history
      .idsOf(ctx.id)
      .filter((promiseId) => !passed.has(promiseId))
      .map((promiseId) => history.find(ctx.id, promiseId))
      .find((recorded) => !isMark(recorded) && !isCancelMark(recorded));
  function* leave(what: string) {
    heedCancel();
    const left = findLeft();
    if (left !== undefined) yield* stop(what, left);
  }
  const heedCancel = (promiseIds: readonly string[] = history.idsOf(ctx.id)) => {
    if (!isEnding && promiseIds.some((promiseId) => endsExecution(history.find(ctx.id, promiseId))))
      throw new CancelledError("cancelled");
  };

  return {
    *run<R>(
      step: string,
      key: string,
      work: () => Promise<R>,
      { maxBegun = maxTakeovers, isLast = false }: RunOptions = {},
    ) {
      isEnding ||= isLast;
      const guarded = named(step, async (): Promise<R> => {
        const of = { executionId: ctx.id, promiseId: call.id, key, maxBegun };
        return takeovers.run(of, work).catch((error) => {
          throw withCauses(toError(error));
        });
      });
      const call = ctx.run(guarded, {
        ...once,
        tags: { [KEY_TAG]: key, [LEASE_TAG]: String(lease), [WORKER_TAG]: worker },
      });
      yield* pass(call.id, `step ${key}`, ({ tags }) => tags[KEY_TAG] === key);
      try {
        return yield* call;
      } finally {
        // The SDK gives what the step came to here, even if it had been cancelled meanwhile and that is on record.
        heedCancel([call.id]);
      }
    },
    *sleep(ms) {
      const timer = sleep(ctx, ms);
      yield* pass(timer.id, "a sleep", ({ tags }) => tags[TIMER_TAG] === "true");
      yield* timer.wait();
    },
    *goOn() {
      const place = checkpointId(ctx.id, passed.size);
      passed.add(place);
      const recorded = history.find(ctx.id, place);
      // A replay takes the way that is recorded, here, too.
      if (recorded !== undefined || findLeft() === undefined) heedCancel();
      if (recorded !== undefined) yield* stop("a fresh execution", recorded);
    },
    end: () => leave("its end"),
  };
};
