import { Counter, collectDefaultMetrics, Gauge, Registry } from "prom-client";
import { type EventName, type Events, listen, type WorkerState } from "../worker/telemetry.ts";
import { Tally } from "./histogram.ts";

const PREFIX = "kafka_worker_";
/** In seconds: what takes a moment, and what may take days. */
const SHORT = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30];
const LONG = [0.1, 1, 5, 15, 60, 300, 900, 3600, 4 * 3600, 24 * 3600, 7 * 24 * 3600];
/** Reasons come from jobs: one that puts an id into its reason must not make a time series of each message. */
const MAX_REASONS = 50;

export interface MetricsOptions {
  /** `undefined` while the worker has not started. */
  readonly state: () => WorkerState | undefined;
  readonly isReady: () => boolean;
  readonly version: string;
  /** The consumer group. */
  readonly group: string;
}

export interface Metrics extends Disposable {
  readonly contentType: string;
  /** All metrics in the text format of Prometheus. */
  render(): Promise<string>;
}

/** A value, or one for all that come after `max` different ones. */
const limit = (max: number) => {
  const known = new Set<string>();
  return (value: string): string => {
    if (known.size < max) known.add(value);
    return known.has(value) ? value : "other";
  };
};

/** Counts what the worker tells of, and asks it how it stands whenever somebody looks. */
export const createMetrics = ({ state, isReady, version, group }: MetricsOptions): Metrics => {
  const registry = new Registry();
  const registers = [registry];
  const listeners: Disposable[] = [];
  const on = <E extends EventName>(name: E, listener: (fields: Events[E]) => void) =>
    void listeners.push(listen(name, listener));

  const counter = <L extends string>(name: string, help: string, labelNames: L[] = []) =>
    new Counter({ name: PREFIX + name, help, labelNames, registers });
  const histogram = <L extends string>(name: string, help: string, buckets: number[], labelNames: L[] = []) =>
    new Tally({ name: PREFIX + name, help, labelNames, buckets, registers });
  const gauge = <L extends string>(name: string, help: string, labelNames: L[] = []) =>
    new Gauge({ name: PREFIX + name, help, labelNames, registers });
  /** What is read when somebody looks; absent while it is not known. */
  const reading = (name: string, help: string, read: () => number | undefined) =>
    new Gauge({
      name: PREFIX + name,
      help,
      registers,
      collect() {
        const value = read();
        if (value === undefined) this.remove();
        else this.set(value);
      },
    });

  const received = counter("messages_received_total", "Messages that came from the broker.", [
    "topic",
    "partition",
  ]);
  on("messages.received", ({ topic, partition, count }) => received.inc({ topic, partition }, count));
  const dispatched = counter(
    "messages_dispatched_total",
    "Messages that have an execution, or were found to have had one.",
    ["outcome"],
  );
  const dispatchSeconds = histogram(
    "dispatch_duration_seconds",
    "From taking up a message to its durable execution.",
    SHORT,
  );
  const ageSeconds = histogram(
    "message_age_seconds",
    "From a message's timestamp to its durable start.",
    LONG,
  );
  on("message.dispatched", ({ outcome, ms, ageMs }) => {
    dispatched.inc({ outcome });
    dispatchSeconds.tally({}, ms / 1000);
    // Timestamps are the producer's word.
    if (outcome === "started" && Number.isFinite(ageMs)) ageSeconds.tally({}, Math.max(0, ageMs) / 1000);
  });
  const reasons = limit(MAX_REASONS);
  const deadLetters = counter("dead_letters_total", "Messages that went to the dead-letter topic.", [
    "reason",
  ]);
  on("message.dead-letter", ({ reason }) => deadLetters.inc({ reason: reasons(reason) }));

  const lags = gauge("consumer_lag", "Messages of this worker's partitions that are not committed.", [
    "topic",
    "partition",
  ]);
  const assigned = gauge("assigned_partitions", "Partitions that this worker has.");
  const rebalances = counter(
    "rebalances_total",
    "Rebalances that this worker came out of, its first included.",
  );
  const commitFailures = counter("commit_failures_total", "Offsets that could not be committed.");
  on("lag.measured", ({ topic, partition, lag }) => lags.set({ topic, partition }, lag));
  on("group.joined", ({ partitions }) => {
    lags.reset();
    assigned.set(partitions.length);
    rebalances.inc();
  });
  on("group.left", () => {
    lags.reset();
    assigned.set(0);
  });
  on("commit.failed", () => commitFailures.inc());

  reading(
    "executions_in_flight",
    "Executions that this worker began and has not seen end.",
    () => state()?.inFlight,
  );
  reading("executions_limit", "How many may be in flight (MAX_IN_FLIGHT).", () => state()?.maxInFlight);
  reading("oldest_execution_age_seconds", "How long the oldest of them has been in flight.", () => {
    const own = state();
    return own && (own.oldestSince === undefined ? 0 : (Date.now() - own.oldestSince) / 1000);
  });
  const executionSeconds = histogram(
    "execution_duration_seconds",
    "From an execution's creation to its end.",
    LONG,
    ["outcome"],
  );
  executionSeconds.createCounter(`${PREFIX}executions_finished_total`, "Executions that ended here.");
  on("execution.ended", ({ isWhole, outcome, ms }) => {
    if (isWhole) executionSeconds.tally({ outcome }, ms / 1000);
  });
  const takenOver = counter(
    "executions_taken_over_total",
    "Executions that another worker had left in the middle of a step.",
  );
  on("execution.taken-over", () => takenOver.inc());

  const stepSeconds = histogram("step_duration_seconds", "How long they took.", SHORT, ["step", "result"]);
  stepSeconds.createCounter(
    `${PREFIX}steps_total`,
    "Tries of steps by how they ended; 'answered' is done, with the answer that the ledger had.",
  );
  const answered = new Set<string>();
  const onStep = (step: string, key: string, result: "done" | "failed" | "retried", ms: number) => {
    const wasAnswered = answered.size > 0 && answered.delete(key);
    stepSeconds.tally({ step, result: wasAnswered && result === "done" ? "answered" : result }, ms / 1000);
  };
  on("step.answered", ({ key }) => void answered.add(key));
  on("step.ended", ({ step, key, result, ms }) => onStep(step, key, result, ms));
  on("step.retried", ({ step, key, ms }) => onStep(step, key, "retried", ms));
  reading("steps_running", "Steps that run.", () => state()?.stepsRunning);
  reading("steps_limit", "How many may run (STEP_CONCURRENCY).", () => state()?.maxSteps);
  reading("leases_held", "Executions that run here, under a lease.", () => state()?.leases);
  const leasesLost = counter("leases_lost_total", "Executions that the server gave to another worker.");
  on("lease.lost", () => leasesLost.inc());

  const requestSeconds = histogram(
    "resonate_request_duration_seconds",
    "Requests to the Resonate server; status 0: no answer.",
    SHORT,
    ["kind", "status"],
  );
  let lastStatus = 0;
  on("request.ended", ({ kind, status, ms }) => {
    requestSeconds.tally({ kind, status }, ms / 1000);
    lastStatus = status;
  });
  reading("resonate_connected", "Whether the last request to the server was answered.", () =>
    lastStatus === 0 ? 0 : 1,
  );
  reading("clock_skew_seconds", "By how much the server's clock is ahead.", () => {
    const ms = state()?.clockSkewMs;
    return ms === undefined ? undefined : ms / 1000;
  });
  reading("ready", "Whether the worker consumes and executes, as /readyz has it.", () => (isReady() ? 1 : 0));
  gauge("info", "Version and consumer group.", ["version", "group"]).set({ version, group }, 1);
  collectDefaultMetrics({ register: registry });

  return {
    contentType: registry.contentType,
    render: () => registry.metrics(),
    [Symbol.dispose]: () => {
      for (const listener of listeners) listener[Symbol.dispose]();
      registry.clear();
    },
  };
};
