import { styleText } from "node:util";
import { visible } from "../support/visible.ts";
import type { InspectedStep, Inspection } from "./inspect.ts";
import { count, duration, toColumns } from "./text.ts";

const COLOURS = {
  done: "green",
  failed: "red",
  cancelled: "red",
  running: "cyan",
  asleep: "blue",
  waiting: "yellow",
} as const;

/** The longest result that a line shows, in characters. */
const MAX_RESULT = 60;

const cut = (text: string) => (text.length <= MAX_RESULT ? text : `${text.slice(0, MAX_RESULT)}…`);
const time = (iso: string) => iso.slice(11, 19);

/** What a step came to: its result, its error, or when its sleep ends. */
const outcomeOf = ({ result, error, until, state }: InspectedStep) => {
  if (error !== undefined) return error;
  if (until !== undefined) return state === "asleep" ? `until ${time(until)}` : "";
  return result === undefined ? "" : JSON.stringify(result);
};

const headline = ({ state, worker, wakesAt, begunAt, endedAt, group, version }: Inspection, now: number) => {
  const since = Date.parse(begunAt);
  switch (state) {
    case "running":
      return `${state} at worker ${worker}, for ${duration(now - since)}`;
    case "asleep":
      return `${state}, wakes in ${duration(Math.max(0, Date.parse(wakesAt ?? "") - now))}`;
    case "waiting":
      return `${state} for a worker of group ${group} with version ${version} of the workflow`;
    default:
      return `${state} at ${endedAt}, after ${duration(Date.parse(endedAt ?? begunAt) - since)}`;
  }
};

/** What becomes of a record, as lines for a reader; `now` in milliseconds since 1970. */
export const inspectionLines = (inspection: Inspection, now: number): string[] => {
  const { id, state, executionId, service, partition, offset, redrives, segments, steps } = inspection;
  const { begunAt, deadline, result, error } = inspection;
  const paint = (own: keyof typeof COLOURS, line: string) => styleText(COLOURS[own], line);
  const rows = steps.map((step, i) => [
    String(i + 1),
    step.name,
    step.state,
    step.worker ?? "",
    time(step.begunAt),
    step.ms === undefined ? "" : duration(step.ms),
    step.attempts === undefined ? "" : String(step.attempts),
    cut(outcomeOf(step)),
  ]);
  const [head = "", ...lines] = toColumns([
    ["#", "step", "state", "worker", "begun", "took", "tries", "result"],
    ...rows,
  ]);
  const end = error ?? (result === undefined ? undefined : cut(JSON.stringify(result)));
  return [
    `record ${visible(id)}: ${paint(state, visible(headline(inspection, now)))}`,
    `  execution ${visible(executionId)} of ${visible(service)}, message at partition ${partition}, offset ${offset}`,
    `  begun ${begunAt}, to be done by ${deadline}, ${count(segments, "segment")}, ${count(redrives, "redrive")}`,
    ...(end === undefined ? [] : [`  ${error === undefined ? "result" : "error"}: ${visible(end)}`]),
    ...(steps.length === 0 ? [] : [styleText("bold", head)]),
    ...lines.map((line, i) => paint(steps[i]?.state ?? "done", line)),
  ];
};
