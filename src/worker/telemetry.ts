import { type Channel, channel } from "node:diagnostics_channel";
import type { Outcome } from "./begin.ts";

/** Where a message stands in its topic. */
interface Place {
  readonly topic: string;
  readonly partition: number;
  readonly offset: string;
}

/** An execution, and the message it works on. */
interface OfExecution {
  /** The message's id. */
  readonly id: string;
  /** The promise id of the execution: that of a later piece of a long one has a part behind a ':'. */
  readonly executionId: string;
}

/** A call of a step. */
interface OfStep extends OfExecution {
  readonly step: string;
  /** Its idempotency key. */
  readonly key: string;
  /** The number of the try in this process, from 1. */
  readonly attempt: number;
}

/** Everything that a worker tells of, by name. Times are in milliseconds. This is the one list of events. */
export interface Events {
  /** A batch of messages came from the broker; `lag` is what is left behind its last one, `end` the offset after it. */
  "messages.received": { topic: string; partition: number; count: number; lag: number; end: number };
  /** A message has an execution, or was found to have had one. `ms` since it was taken up, `ageMs` since it was produced. */
  "message.dispatched": Place & { id: string; outcome: Exclude<Outcome, "taken">; ms: number; ageMs: number };
  /** A message is in the dead-letter topic. `id` is absent where it has none. */
  "message.dead-letter": Place & { id?: string; reason: string; error: string };
  /** Offsets of a partition could not be committed. */
  "commit.failed": { topic: string; partition: number; error: string };
  /** How far the group is behind in a partition of this worker: every few seconds, while the broker answers. */
  "lag.measured": { topic: string; partition: number; committed: number; lag: number };
  /** This worker was given partitions: after each rebalance. */
  "group.joined": { topic: string; partitions: readonly number[]; memberId?: string };
  /** This worker has no partitions for now: a rebalance, a stop, or a server it cannot reach. */
  "group.left": { topic: string };

  /** This worker began an execution. */
  "execution.started": OfExecution;
  /** This worker goes on with an execution: after a sleep, or as another piece of a long one. */
  "execution.resumed": OfExecution & { lease: number };
  /** This worker goes on with an execution that another one had left in the middle of a step. */
  "execution.taken-over": OfExecution & { from: string; step: string; key: string };
  /** An execution sleeps, or waits for its next piece. `until` is when its sleep ends, since 1970, where it is known. */
  "execution.suspended": OfExecution & { until?: number };
  /** An execution has ended here: the whole of it, or a piece of a long one. `ms` since it was created. */
  "execution.ended": OfExecution & { isWhole: boolean; outcome: "finished" | "failed"; ms: number };
  /** An execution was handed back to the server: on a stop, in an outage, or where it cannot go on. */
  "execution.handed-back": OfExecution;
  /** A workflow has come another way than is recorded of it, and goes no further here. */
  "execution.order-changed": OfExecution & { reason: string };
  /** The server gave an execution of this worker to another one, or does not know it any more. */
  "lease.lost": OfExecution;

  /** A step runs. */
  "step.begun": OfStep;
  /** A step failed and is tried again after `delayMs`. */
  "step.retried": OfStep & { error: string; delayMs: number; ms: number };
  /** A step has ended: with its result, or for good with an error. */
  "step.ended": OfStep & { result: "done" | "failed"; error?: string; ms: number };
  /** A step's effect had taken place before: the ledger gave its recorded answer. */
  "step.answered": OfStep;

  /** A completion is in the completions topic. */
  "completion.published": OfExecution & { topic: string; key: string };

  /** A request to the Resonate server was answered; `status` 0 where it was not. */
  "request.ended": { kind: string; status: number; ms: number };
  /** Something that the worker needs cannot be reached, or can be again. */
  "outage.begun": { system: "broker" | "server"; error: string };
  "outage.over": { system: "broker" | "server"; ms: number };
  /** The worker consumes and executes. */
  "worker.ready": { worker: string };
  /** The worker stops; `running` steps may end first. */
  "worker.stopping": { worker: string; running: number };
}

export type EventName = keyof Events;

/** How a worker stands at this moment: what is asked for, not told. */
export interface WorkerState {
  /** Executions that this worker began and has not seen end, and how many there may be. */
  readonly inFlight: number;
  readonly maxInFlight: number;
  /** When the first of them was taken up, in milliseconds since 1970; `undefined` where there is none. */
  readonly oldestSince: number | undefined;
  /** Steps that run, steps that wait for room to run, and how many may run. */
  readonly stepsRunning: number;
  readonly stepsWaiting: number;
  readonly maxSteps: number;
  /** Executions whose lease this worker holds: not those that sleep. */
  readonly leases: number;
  /** By how much the server's clock is ahead, in milliseconds; `undefined` before the first comparison. */
  readonly clockSkewMs: number | undefined;
}

/** All channels begin with this: `node:diagnostics_channel` is one namespace for a whole process. */
const PREFIX = "kafka-worker:";

/** Kept: Node looks a channel up by its name in a map of weak references, which costs more than to publish. */
const channels = new Map<EventName, Channel>();

const openChannel = (name: EventName): Channel => channel(PREFIX + name);

/** `get` first, which costs the least. */
const channelOf = (name: EventName): Channel =>
  channels.get(name) ?? channels.getOrInsertComputed(name, openChannel);

/** Tells of an event. Costs next to nothing while nobody listens. */
export const tell = <E extends EventName>(name: E, fields: Events[E]): void => {
  const own = channelOf(name);
  if (own.hasSubscribers) own.publish(fields);
};

/** Whether anybody listens: for events whose fields cost something to find out. */
export const isHeard = (name: EventName): boolean => channelOf(name).hasSubscribers;

/** Calls `listener` for each event of that name. Disposing of the result ends it. */
export const listen = <E extends EventName>(name: E, listener: (fields: Events[E]) => void): Disposable => {
  // Only `tell` publishes here, and it is given the fields of that name.
  const onMessage = listener as (fields: unknown) => void;
  const own = channelOf(name);
  own.subscribe(onMessage);
  return { [Symbol.dispose]: () => void own.unsubscribe(onMessage) };
};
