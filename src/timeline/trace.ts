import { callOf } from "./html.ts";
import { type Timeline, workerLabel } from "./timeline.ts";

/** All records are threads of one process. */
const RECORDS = 1;
const toMicros = (ms: number) => Math.round(ms * 1000);

/** The timeline as Chrome trace events, which Perfetto and chrome://tracing open. */
export const toTrace = ({ workers, lanes, strikes, takeovers, to }: Timeline): string => {
  const threads = new Map([...lanes.keys()].map((id, index) => [id, index + 1]));
  const nameOf = (worker: number | undefined) => (worker === undefined ? "" : workerLabel(worker));
  const meta = (name: string, tid: number, value: string) => ({
    ph: "M",
    name,
    pid: RECORDS,
    tid,
    args: { name: value },
  });
  const events = [
    meta("process_name", 0, "records"),
    ...[...threads].map(([id, tid]) => meta("thread_name", tid, id)),
    ...[...lanes.values()].flatMap(({ id, spans }) =>
      spans.map(({ state, from, to: until, worker, step, key, attempt, end, error }) => ({
        ph: "X",
        name: state === "running" ? `${step} ${callOf(key)} (${nameOf(worker)})` : state,
        cat: state,
        pid: RECORDS,
        tid: threads.get(id),
        ts: toMicros(from),
        dur: toMicros(Math.max(0, Math.min(until, to) - from)),
        args: { worker: worker === undefined ? undefined : workers[worker]?.name, key, attempt, end, error },
      })),
    ),
    ...strikes.map(({ at, worker, kind }) => ({
      ph: "i",
      s: "g",
      name: `${kind} ${nameOf(worker)}`,
      pid: RECORDS,
      tid: 0,
      ts: toMicros(at),
    })),
    ...takeovers.map(({ at, id, from, by, step, gapMs }) => ({
      ph: "i",
      s: "t",
      name: `${nameOf(by)} took over from ${nameOf(from)}`,
      pid: RECORDS,
      tid: threads.get(id),
      ts: toMicros(at),
      args: { step, gapMs },
    })),
  ];
  return JSON.stringify({ displayTimeUnit: "ms", traceEvents: events });
};
