import type { EventLine } from "./event-line.ts";

/** What a record does: waits for a worker, for room or for its checkpoint, runs a step, waits for the next try of one, sleeps, or is without a worker. */
export type State = "queued" | "running" | "retrying" | "asleep" | "orphaned";

/** How a step's run ended; `cut`: its worker died or froze. */
type StepEnd = "done" | "failed" | "answered" | "cut";

/** A stretch of time in one state. Times are milliseconds since 1970. */
export interface Span {
  readonly state: State;
  readonly from: number;
  /** Infinity while it lasts. */
  to: number;
  /** The number of the worker, where there is one. */
  readonly worker?: number | undefined;
  /** The step that runs, is tried again or was cut, and its idempotency key. */
  readonly step?: string | undefined;
  readonly key?: string | undefined;
  readonly attempt?: number | undefined;
  end?: StepEnd | undefined;
  error?: string | undefined;
}

/** The life of one record. */
export interface Lane {
  readonly id: string;
  readonly spans: readonly Span[];
  /** How it ended: the outcome of its execution. */
  readonly outcome: string | undefined;
  /** The span that lasts. */
  readonly current: Span | undefined;
  /** Takes an event of a worker in; `lostAt` says since when a worker does nothing. */
  add(line: EventLine, worker: number, lostAt: (worker: number) => number): void;
  /** To be called when a worker dies: what it did of this record is cut. */
  cut(worker: number, at: number): void;
}

type SpanFields = Omit<Span, "from" | "to" | "state">;

export const createLane = (id: string): Lane => {
  const spans: Span[] = [];
  let outcome: string | undefined;
  let current: Span | undefined;
  /** Whose lease it is; what another one tells of it has lost its meaning. */
  let holder: number | undefined;
  /** The execution that ran last: a long record has one after the other, and those before wait for it. */
  let execution: string | undefined;

  const close = (at: number, how: Partial<Pick<Span, "end" | "error">> = {}) => {
    if (current === undefined) return;
    current.to = Math.max(current.from, Math.min(current.to, at));
    Object.assign(current, how);
    current = undefined;
  };
  const enter = (state: State, at: number, fields: SpanFields = {}) => {
    close(at);
    current = { state, from: at, to: Number.POSITIVE_INFINITY, ...fields };
    spans.push(current);
  };

  const cut = (worker: number, at: number) => {
    if (holder !== worker) return;
    holder = undefined;
    if (current === undefined || current.state === "asleep") return;
    const { step, key, from } = current;
    const since = Math.max(from, at);
    close(since, current.state === "running" ? { end: "cut" } : {});
    enter("orphaned", since, { step, key, worker });
  };
  /** A sleeping record is due from then on, until a worker goes on with it. */
  const endSleep = (at: number) => {
    if (current?.state !== "asleep" || current.to >= at) return;
    const due = current.to;
    current = undefined;
    enter("queued", due);
  };

  const add: Lane["add"] = (line, worker, lostAt) => {
    const { time: at, event } = line;
    const [step, key, attempt, error] = [
      line.text("step"),
      line.text("key"),
      line.number("attempt"),
      line.text("error"),
    ];
    const executionId = line.text("executionId");
    if (event === "message.dispatched") {
      // Told after the execution has begun: what came before that was the wait in the topic.
      const since = at - (line.number("ageMs") ?? 0);
      const until = spans[0]?.from ?? at;
      if (since < until) spans.unshift({ state: "queued", from: since, to: until });
      return;
    }
    if (event === "message.dead-letter") {
      outcome = "dead-letter";
      return;
    }
    if (event === "execution.started" || event === "execution.resumed") {
      endSleep(at);
      if (holder !== undefined && holder !== worker) cut(holder, lostAt(holder));
      holder = worker;
      return enter("queued", at, { worker });
    }
    if (worker !== (holder ?? worker)) return;
    if (event === "step.begun") {
      holder = worker;
      execution = executionId;
      return enter("running", at, { worker, step, key, attempt });
    }
    if (event === "step.answered" && current) current.end = "answered";
    if (event === "step.retried") {
      close(at, { end: "failed", error });
      return enter("retrying", at, { worker, step, key, attempt, error });
    }
    if (event === "step.ended") {
      const end = current?.end ?? (line.text("result") === "failed" ? "failed" : "done");
      close(at, { end, error });
      // Until its checkpoint is written it is this worker's.
      return enter("queued", at, { worker });
    }
    if (event === "execution.suspended" && executionId === (execution ?? executionId)) {
      enter("asleep", at);
      if (current) current.to = line.number("until") ?? Number.POSITIVE_INFINITY;
      holder = undefined;
    }
    if (event === "execution.handed-back" || event === "lease.lost") {
      enter("queued", at);
      holder = undefined;
    }
    if (event === "execution.ended" && !executionId?.includes(":")) {
      close(at);
      outcome = line.text("outcome");
      holder = undefined;
    }
  };

  return {
    id,
    spans,
    get outcome() {
      return outcome;
    },
    get current() {
      return current;
    },
    add,
    cut,
  };
};
