import { Codec, type PromiseRecord, type Send, type TaskRecord } from "@resonatehq/sdk";
import { decodeCall } from "../resonate/call.ts";
import { describe } from "../support/errors.ts";
import { ATTEMPTS_HEADER } from "../worker/attempts.ts";
import { isCancelled } from "../worker/cancel.ts";
import { KEY_TAG, TIMER_TAG, WORKER_TAG } from "../worker/checkpoint.ts";
import { decodeEnvelope } from "../worker/envelope.ts";
import { groupOf, type Service } from "../worker/service.ts";
import { UnknownRecordError } from "./errors.ts";
import { findTask, findTrail, type Segment, type Trail } from "./trail.ts";

/** A step or a sleep of an execution. Times are ISO 8601, UTC, or in milliseconds. */
export interface InspectedStep {
  /** The step's name; `sleep` for a sleep. */
  readonly name: string;
  readonly state: "done" | "failed" | "cancelled" | "running" | "asleep";
  /** Its idempotency key. */
  readonly key?: string;
  /** The worker that began it. */
  readonly worker?: string;
  /** Counts the executions of a long record, from 1. */
  readonly segment: number;
  readonly begunAt: string;
  /** How often it was tried by the worker that ended it. */
  readonly attempts?: number;
  /** How long it took. */
  readonly ms?: number;
  readonly result?: unknown;
  readonly error?: string;
  /** When a sleep ends. */
  readonly until?: string;
}

/** What becomes of a record. Times are ISO 8601, UTC. */
export interface Inspection {
  readonly id: string;
  /** The durable promise id of its execution. */
  readonly executionId: string;
  readonly service: string;
  /** `running`: a worker holds it. `asleep`: no worker needs to. `waiting`: no worker has taken it up. */
  readonly state: "done" | "failed" | "cancelled" | "running" | "asleep" | "waiting";
  /** Who holds it, where it runs. */
  readonly worker?: string;
  /** Where its message stands in its topic. */
  readonly partition: number;
  readonly offset: string;
  /** How often its message had come back from the dead letters. */
  readonly redrives: number;
  /** The worker group and the version of the workflow that it needs. */
  readonly group?: string;
  readonly version: number;
  /** How many executions the record has taken so far: a long one goes on in a fresh one now and then. */
  readonly segments: number;
  readonly begunAt: string;
  readonly endedAt?: string;
  /** After this no further step is tried. */
  readonly deadline: string;
  /** When its sleep ends. */
  readonly wakesAt?: string;
  readonly steps: readonly InspectedStep[];
  readonly result?: unknown;
  readonly error?: string;
}

const codec = new Codec();
const iso = (ms: number) => new Date(ms).toISOString();

/** What a promise was settled with. */
const outcomeOf = ({ state, value }: PromiseRecord) => {
  if (state === "pending") return {};
  const decoded = codec.decode(value);
  if (state === "resolved") return decoded === undefined ? {} : { result: decoded };
  return { error: decoded === undefined ? state : describe(decoded) };
};

/** How a promise was settled. */
export const settledState = ({ state, value }: PromiseRecord): "done" | "failed" | "cancelled" => {
  if (state === "resolved") return "done";
  return state === "rejected_canceled" || isCancelled(codec.decode(value)) ? "cancelled" : "failed";
};

const inspectStep = (promise: PromiseRecord, segment: number): InspectedStep => {
  const { state, tags, createdAt, settledAt, timeoutAt } = promise;
  const isSleep = tags[TIMER_TAG] === "true";
  const [key, worker] = [tags[KEY_TAG], tags[WORKER_TAG]];
  const pending = isSleep ? "asleep" : "running";
  return {
    name: isSleep ? "sleep" : decodeCall(promise.param).func,
    state: state === "pending" ? pending : settledState(promise),
    ...(key !== undefined && { key }),
    ...(worker !== undefined && { worker }),
    segment,
    begunAt: iso(createdAt),
    ...(settledAt !== undefined && { ms: settledAt - createdAt }),
    ...(settledAt !== undefined &&
      key !== undefined && { attempts: Number(promise.value.headers?.[ATTEMPTS_HEADER] ?? 1) }),
    ...(isSleep ? { until: iso(timeoutAt) } : outcomeOf(promise)),
  };
};

const stateOf = (
  whole: PromiseRecord,
  { checkpoints }: Segment,
  task: TaskRecord | undefined,
): Pick<Inspection, "state" | "worker" | "wakesAt"> => {
  if (whole.state !== "pending") return { state: settledState(whole) };
  if (task?.state === "acquired") {
    return { state: "running", ...(task.pid !== undefined && { worker: task.pid }) };
  }
  const sleep = checkpoints.find(({ state, tags }) => state === "pending" && tags[TIMER_TAG] === "true");
  return sleep ? { state: "asleep", wakesAt: iso(sleep.timeoutAt) } : { state: "waiting" };
};

/** What is recorded of an execution, in the words of a reader. `task` is that of its last segment. */
const describeTrail = (
  { redrives, segments }: Trail,
  task: TaskRecord | undefined,
  service: string,
): Inspection => {
  const whole = segments[0].promise;
  const last = segments.at(-1) ?? segments[0];
  const { version, args } = decodeCall(whole.param);
  const envelope = decodeEnvelope(String(args[0]));
  const group = groupOf(last.promise);
  return {
    id: envelope.id,
    executionId: whole.id,
    service,
    ...stateOf(whole, last, task),
    partition: envelope.partition,
    offset: envelope.offset,
    redrives,
    ...(group !== undefined && { group }),
    version,
    segments: segments.length,
    begunAt: iso(whole.createdAt),
    ...(whole.settledAt !== undefined && { endedAt: iso(whole.settledAt) }),
    deadline: iso(envelope.deadline),
    steps: segments.flatMap(({ checkpoints }, i) => checkpoints.map((one) => inspectStep(one, i + 1))),
    ...outcomeOf(whole),
  };
};

/**
 * Finds out what becomes of a record.
 *
 * @throws {UnknownRecordError} when the server has no execution of it
 */
export const inspect = async (
  send: Send,
  { name }: Pick<Service, "name">,
  id: string,
): Promise<Inspection> => {
  const trail = await findTrail(send, id, name);
  if (trail === undefined) throw new UnknownRecordError(id, name);
  // Where a later segment has ended, an earlier one goes on.
  const current = trail.segments.findLast(({ promise }) => promise.state === "pending");
  const task = current && (await findTask(send, current.promise.id));
  return describeTrail(trail, task, name);
};
