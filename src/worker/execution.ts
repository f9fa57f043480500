import { Codec, type Context } from "@resonatehq/sdk";
import { setDefaultOptions } from "../resonate/default-options.ts";
import { describe, toError } from "../support/errors.ts";
import { withLogFields } from "../support/log.ts";
import { isCancelled } from "./cancel.ts";
import { type CheckpointOptions, createCheckpoints } from "./checkpoint.ts";
import { DEAD_LETTER_STEP } from "./dead-letter.ts";
import { decodeEnvelope, type Envelope, encodeEnvelope } from "./envelope.ts";
import { idempotencyKey } from "./idempotency-key.ts";
import type { AnyJob, Steps, Workflow, WorkflowContext } from "./job.ts";
import { assertJson } from "./result.ts";
import type { Service } from "./service.ts";
import type { StepRunner } from "./step.ts";
import type { StepCall } from "./step-call.ts";
import { currentTraceHeaders, inStepSpan, type TraceHeaders } from "./traces.ts";
import { withStars } from "./yield-star.ts";

/**
 * Longer than any outage. A promise that times out is rejected while no code of ours runs, so none ever does: the
 * deadline is a step's to watch.
 */
export const NEVER_MS = 100 * 365 * 24 * 3_600_000;

/**
 * The name under which a job's executions are registered. It names the topic, too: two services with the same job at
 * one server must not run each other's.
 */
export const executionName = (job: string, topic: string): string => `${job}:${topic}`;

/** The service that a job is with these settings: its name, its worker group and its workflow's version. */
export const serviceOf = (
  job: Pick<AnyJob, "name" | "version">,
  settings: { readonly TOPIC_SOURCE: string; readonly RESONATE_GROUP: string },
): Service => ({
  name: executionName(job.name, settings.TOPIC_SOURCE),
  group: settings.RESONATE_GROUP,
  version: job.version ?? 1,
});

export interface ExecutionOptions
  extends Pick<CheckpointOptions, "history" | "takeovers" | "maxTakeovers" | "worker"> {
  readonly job: string;
  /** Under which the execution is registered at the SDK, and continues itself. */
  readonly name: string;
  readonly steps: Steps;
  readonly workflow: Workflow<unknown>;
  readonly runner: StepRunner;
  /** Where the execution is continued: the address of the worker group. */
  readonly target: string;
  /** Sends the message of a failed execution to the dead letters. */
  readonly sendDeadLetter: (envelope: Envelope, error: unknown) => Promise<void>;
}

/** A workflow called a function that is not one of its job's steps. */
class UnknownStepError extends Error {
  readonly code = "UNKNOWN_STEP";
  readonly canRetry = false;
  override name = "UnknownStepError";
}

const codec = new Codec();

/** A value as it is after a replay: what a workflow sees must not depend on whether it was resumed in between. */
const asReplayed = (value: unknown): unknown => codec.decode(codec.encode(value));

/**
 * What was thrown, as an error that can be kept. With one that cannot, the SDK hands the execution back, the server
 * hands it out again, and so on for ever.
 */
const asKept = (thrown: unknown): Error => {
  const error = toError(thrown);
  try {
    codec.encode(error);
    return error;
  } catch {
    return new Error(describe(error));
  }
};

/**
 * Makes the durable execution of a message: the job's workflow, with everything around its steps that is not the
 * job's. Registered at the SDK under `name`.
 */
export const createExecution = (options: ExecutionOptions) => {
  const { job, name, steps, workflow, runner, worker, target, sendDeadLetter } = options;
  const names = new Map(Object.entries(steps).map(([own, step]) => [step, own]));

  return function* execution(ctx: Context, text: string): Generator<unknown, unknown, unknown> {
    const envelope = decodeEnvelope(text);
    const { id, partition, offset, redrives, deadline, original, trace: headers } = envelope;
    const calls: Record<string, number> = { ...envelope.calls };
    setDefaultOptions(ctx, { timeout: NEVER_MS, target });
    const checkpoints = createCheckpoints(ctx, { ...options, messageId: id });
    let cancelled: unknown;

    /** Once cancelled, a workflow that catches that comes no further: it is to be driven again from where it was. */
    function* heed<R>(work: Iterable<unknown, R, unknown>) {
      if (cancelled !== undefined) throw cancelled;
      try {
        return yield* work;
      } catch (error) {
        if (isCancelled(error)) cancelled = error;
        throw error;
      }
    }

    const nextKey = (step: string): string => {
      const call = calls[step] ?? 0;
      calls[step] = call + 1;
      return idempotencyKey({ job, messageId: id, step, call });
    };
    /** What a step logs has its fields, and what it calls joins its span. */
    const runStep = <R>(
      call: StepCall,
      work: (attempt: number, trace: TraceHeaders | undefined) => Promise<R>,
    ) =>
      runner.run(call, (attempt) => {
        const { name: step, key, executionId } = call;
        const tried = { id, step, key, attempt, worker, headers, executionId };
        return withLogFields({ recordId: id, partition, offset, step, attempt }, () =>
          inStepSpan(tried, () => work(attempt, currentTraceHeaders(headers))),
        );
      });
    const context: WorkflowContext = {
      *run(step, ...args) {
        const own = names.get(step);
        if (own === undefined) {
          throw new UnknownStepError(
            `expected a step that createSteps of ${job} returns, got another function`,
          );
        }
        const key = nextKey(own);
        const given = {
          idempotencyKey: key,
          step: own,
          executionId: ctx.id,
          message: { id, partition, offset },
        };
        const call = { name: own, key, messageId: id, executionId: ctx.id, deadline };
        const work = () =>
          runStep(call, (attempt, trace) =>
            step({ ...given, attempt, ...(trace && { trace }) }, ...args),
          ).catch((error) => {
            throw asKept(error);
          });
        try {
          // The codec gives back what it was given, as far as it is JSON.
          const result = yield* heed(checkpoints.run(own, key, work));
          return asReplayed(result) as Awaited<ReturnType<typeof step>>;
        } catch (error) {
          throw asReplayed(error);
        }
      },
      sleep: (ms) => heed(checkpoints.sleep(ms)),
      *continueAsNew<Args extends unknown[], R>(_workflow: unknown, ...args: Args) {
        yield* heed(checkpoints.goOn());
        const { original: _, ...rest } = envelope;
        const next = encodeEnvelope({ ...rest, calls, args });
        const { version } = ctx.info;
        const continued = yield* ctx.detached<R>(name, next, ctx.options({ version }));
        return yield* heed(continued);
      },
    };

    try {
      const [input, ...rest] = envelope.args;
      const result = assertJson("the workflow", yield* withStars(workflow(context, input, ...rest)));
      yield* heed(checkpoints.end());
      return result;
    } catch (thrown) {
      const error = cancelled ?? thrown;
      if (original !== undefined) {
        const key = idempotencyKey({ job, messageId: id, step: DEAD_LETTER_STEP, call: redrives });
        const call = {
          name: DEAD_LETTER_STEP,
          key,
          messageId: id,
          executionId: ctx.id,
          deadline,
          untilDone: true,
        };
        // Without a dead letter the message would be lost: this step never gives up.
        yield* checkpoints.run(
          DEAD_LETTER_STEP,
          key,
          () => runStep(call, () => sendDeadLetter(envelope, error)),
          { maxBegun: Number.POSITIVE_INFINITY, isLast: true },
        );
      }
      throw asKept(error);
    }
  };
};
