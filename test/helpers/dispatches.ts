import type { WorkerProcess } from "../../src/demo/worker-process.ts";

/** What the log says of a message's dispatch, by what was found under its id. */
const DISPATCHES = {
  "kicked off": (id: string) => `kicked off workflow for record ${id} (`,
  "at work already": (id: string) => `record ${id} is at work already (`,
  "finished before": (id: string) => `record ${id} was finished before (`,
};

/** What came of each message of an id at a worker, in order, and where the message stood. */
export const dispatchesOf = ({ lines }: WorkerProcess, id: string): { outcome: string; place: string }[] =>
  lines.flatMap((line) =>
    Object.entries(DISPATCHES)
      .filter(([, say]) => line.includes(say(id)))
      .map(([outcome]) => ({ outcome, place: line.slice(line.lastIndexOf("(")) })),
  );
