import { type EventLine, parseEventLine } from "../../src/timeline/event-line.ts";

/** An event as it is read from a file. */
export const event = (time: number, pid: number, name: string, fields: object = {}): EventLine => {
  const line = parseEventLine(JSON.stringify({ time, pid, hostname: "here", event: name, ...fields }));
  if (line === undefined) throw new Error(`expected an event, got ${name}`);
  return line;
};

const stepOf = (id: string, call: number) => ({
  id,
  executionId: id,
  step: "deleteBatch",
  key: `deletion/${id}/deleteBatch/${call}`,
  attempt: 1,
});

/**
 * Worker 1 runs a batch of record `a`, which then sleeps, and dies in one of `b` at 300; worker 2 goes on with both.
 */
export const takeoverEvents = (): EventLine[] => [
  event(90, 1, "worker.ready", { worker: "1-aa" }),
  event(95, 2, "worker.ready", { worker: "2-bb" }),
  event(100, 1, "execution.started", { id: "a", executionId: "a" }),
  event(105, 1, "message.dispatched", { id: "a", outcome: "started", ms: 5, ageMs: 55 }),
  event(110, 1, "step.begun", stepOf("a", 0)),
  event(150, 1, "step.ended", { ...stepOf("a", 0), result: "done", ms: 40 }),
  event(160, 1, "execution.suspended", { id: "a", executionId: "a", until: 400 }),
  event(200, 1, "execution.started", { id: "b", executionId: "b" }),
  event(210, 1, "step.begun", stepOf("b", 0)),
  event(220, 1, "step.retried", { ...stepOf("b", 0), error: "no luck", delayMs: 20, ms: 10 }),
  event(240, 1, "step.begun", { ...stepOf("b", 0), attempt: 2 }),
  event(300, 1, "worker.struck", { kind: "SIGKILL" }),
  event(450, 2, "execution.resumed", { id: "a", executionId: "a", lease: 2 }),
  event(455, 2, "step.begun", stepOf("a", 1)),
  event(480, 2, "step.ended", { ...stepOf("a", 1), result: "done", ms: 25 }),
  event(490, 2, "execution.ended", {
    id: "a",
    executionId: "a",
    isWhole: true,
    outcome: "finished",
    ms: 390,
  }),
  event(600, 2, "execution.resumed", { id: "b", executionId: "b", lease: 2 }),
  event(600, 2, "execution.taken-over", {
    id: "b",
    executionId: "b",
    from: "1-aa",
    step: "deleteBatch",
    key: stepOf("b", 0).key,
  }),
  event(610, 2, "step.begun", stepOf("b", 0)),
  event(620, 2, "step.answered", stepOf("b", 0)),
  event(621, 2, "step.ended", { ...stepOf("b", 0), result: "done", ms: 11 }),
];
