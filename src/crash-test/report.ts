import type { Report } from "./crash-everywhere.ts";
import type { Run } from "./run.ts";

/** One line about a job, and one more for each kind of failure: what it is, and the command that repeats it. */
export const describeReport = (job: string, { points, seconds, failures }: Report): string => {
  const rate = Math.floor(points / Math.max(seconds, 0.001));
  const outcome = failures.length === 0 ? "nothing failed" : `${failures.length} failed`;
  const kinds = Map.groupBy(failures, ({ kind }) => kind);
  return [
    `${job}: ${points} crash points, ${rate} a second, ${outcome}`,
    ...[...kinds].flatMap(([kind, [first]]) =>
      first ? [`  ${kind}: ${first.reason}`, `    npm run crash-test -- ${job} --at "${first.at}"`] : [],
    ),
  ].join("\n");
};

/** What a run did, line by line, and what was wrong with it. */
export const describeRun = ({ trace, findings, struck }: Run): string =>
  [
    ...trace.map(({ worker, what }) => `${worker}: ${what}`),
    ...(struck ? [] : ["expected all points to be reached, got to the end before"]),
    ...(findings.length === 0
      ? ["nothing failed"]
      : findings.map(({ kind, reason }) => `${kind}: ${reason}`)),
  ].join("\n");
