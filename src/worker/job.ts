import type { IHeaders } from "kafkajs";
import type { Log } from "../support/log.ts";
import type { Schema, Settings } from "../support/settings.ts";
import type { TraceHeaders } from "./traces.ts";

/** A message of the source topic, as it was read. */
export interface SourceMessage {
  readonly key: Buffer | null;
  readonly value: Buffer | null;
  readonly headers?: IHeaders | undefined;
}

/**
 * What a job read from a message: the id of its execution and the workflow's input, of any JSON shape. Or why there
 * is none: `reason` is a short name for the dead letter's header, `detail` says what was expected and what was got.
 */
export type Reading<Input> =
  | { readonly ok: true; readonly id: string; readonly input: Input }
  | { readonly ok: false; readonly reason: string; readonly detail: string };

/** What every call of a step is given first. */
export interface StepContext {
  /**
   * Names one effect: the same on every retry, replay, takeover and redrive, another one for every other effect.
   * Printable ASCII without spaces, at most 255 characters, so it fits an HTTP header. Key your effects by it.
   */
  readonly idempotencyKey: string;
  /** The name of the step. */
  readonly step: string;
  /** Counts the tries of this call in this process, from 1. */
  readonly attempt: number;
  /** The durable promise id of the execution. Another one after a redrive: not to be used as a key. */
  readonly executionId: string;
  /** The headers by which what the step calls joins the trace of its message; none where there is no trace. */
  readonly trace?: TraceHeaders;
  /** The message that the execution works on. */
  readonly message: { readonly id: string; readonly partition: number; readonly offset: string };
}

/** A function whose parameters may be narrower than `Args`, as those of a method may: a job names its own types. */
type Bivariant<Args extends unknown[], R> = { call(...args: Args): R }["call"];

/**
 * A step: the one place for effects. What it returns is kept as JSON. What it throws is tried again after a pause,
 * STEP_MAX_ATTEMPTS times, unless the error says `canRetry: false`.
 */
export type Step = Bivariant<[StepContext, ...unknown[]], Promise<unknown>>;

/** The steps of a job by name. The name is part of the idempotency key: renaming a step makes it another effect. */
export type Steps = Readonly<Record<string, Step>>;

type ArgsOf<S extends Step> = S extends (step: StepContext, ...args: infer Args) => unknown ? Args : never;

/** What a workflow orders its steps with. Each `yield*` of one of these is a checkpoint. */
export interface WorkflowContext {
  /** Runs a step and gives its result: from the checkpoint, if the step has ended before. */
  run<S extends Step>(step: S, ...args: ArgsOf<S>): Generator<unknown, Awaited<ReturnType<S>>, unknown>;
  /** Sleeps for so many milliseconds, durably: no process waits, and none is needed until it is over. */
  sleep(ms: number): Generator<unknown, void, unknown>;
  /**
   * Goes on with other arguments in a fresh execution, and gives its result. A replay starts at the top, so a long
   * loop is cut in pieces this way. `workflow` is the calling workflow itself.
   */
  continueAsNew<Args extends unknown[], R>(
    workflow: (ctx: WorkflowContext, ...args: Args) => Generator<unknown, R, unknown>,
    ...args: NoInfer<Args>
  ): Generator<unknown, R, unknown>;
}

/**
 * Orders the steps, and nothing else: after a crash it runs again from its top, on any worker, so it must take the
 * same way again. Time, randomness and I/O belong in steps.
 */
export type Workflow<Input> = Bivariant<
  [WorkflowContext, Input, ...unknown[]],
  Generator<unknown, unknown, unknown>
>;

/** A message for the completions topic. */
export interface Completion {
  readonly key: string;
  readonly value: string;
}

/** What the worker hands to a job's steps. */
export interface StepTools {
  /** Sends a message to TOPIC_COMPLETIONS, with the step's idempotency key as header `idempotency-key`. */
  publish(step: StepContext, message: Completion): Promise<void>;
  /** Tells that the step's effect had taken place before, so that whoever watches sees it. */
  answered(step: StepContext): void;
  /** Each line that a step logs has the fields of its call: record, place, step and attempt. */
  readonly log: Log;
  /** Milliseconds since 1970. */
  readonly now: () => number;
}

/** One of the messages that `seed` makes, and what to print about it. */
export interface SeedMessage {
  readonly key: string;
  readonly value: string;
  readonly about: string;
}

/** Defaults of the settings that every job has. */
export interface JobDefaults {
  readonly TOPIC_SOURCE: string;
  readonly TOPIC_COMPLETIONS: string;
  readonly TOPIC_DEAD_LETTERS: string;
  readonly KAFKA_GROUP_ID: string;
  readonly RESONATE_GROUP: string;
  readonly STEP_CONCURRENCY: number;
  readonly STEP_MAX_ATTEMPTS: number;
}

/** What a job opens its effects with. */
interface OpenOptions {
  /** Closes what is registered here when the worker stops. */
  readonly resources: AsyncDisposableStack;
  /** The worker's name, unique among all workers. */
  readonly worker: string;
  /** A number from 0 up to, but not including, 1. */
  readonly random: () => number;
}

/** A job: what becomes of a message. Everything that is not in here is the worker's. */
export interface Job<
  Input,
  S extends Schema,
  Effects extends object,
  Own extends Steps,
  Seed extends SeedMessage,
> {
  /** The name of its folder, and on the command line: lower-case letters, digits and '-'. */
  readonly name: string;
  /**
   * The version of the workflow, 1 where it is not given. A workflow whose order of steps changes gets the next one:
   * executions of an older version wait for a worker that has it.
   */
  readonly version?: number;
  readonly defaults: JobDefaults;
  /** Its own settings, beside those that every job has. */
  readonly settings: S;
  /** Reads a message. Must not throw: what it cannot read goes to the dead letters with the reason it gives. */
  read(message: SourceMessage, settings: Settings<S>): Reading<Input>;
  /** Opens what its steps touch. Tried again while it throws an `OutageError`. */
  open(settings: Settings<S>, options: OpenOptions): Effects | Promise<Effects>;
  createSteps(effects: Effects, tools: StepTools, settings: Settings<S>): Own;
  createWorkflow(steps: Own, settings: Settings<S>): Workflow<Input>;
  /** Makes messages to try it with, and whatever rows they need. */
  seed(options: {
    readonly settings: Settings<S>;
    readonly count: number;
    readonly random: () => number;
  }): Iterable<Seed> | AsyncIterable<Seed>;
}

/** A job of which nothing is known but that it is one. */
export type AnyJob = Job<unknown, Schema, object, Steps, SeedMessage>;

/** States that an object is a job, and has its types inferred. */
export const defineJob = <
  Input,
  S extends Schema,
  Effects extends object,
  Own extends Steps,
  Seed extends SeedMessage,
>(
  job: Job<Input, S, Effects, Own, Seed>,
): Job<Input, S, Effects, Own, Seed> => job;
