import { styleText } from "node:util";
import { type Timeline, workerLabel } from "../timeline/timeline.ts";

/** How the demo stands. */
export interface DemoState {
  readonly timeline: Timeline;
  /** Records in the order in which they arrived, with the batches that each has. */
  readonly records: readonly { readonly id: string; readonly batches: number }[];
  /** Records that were to be seeded, and those that are completed. */
  readonly count: number;
  readonly done: number;
  /** Batches that were applied, by the number of the worker. */
  readonly applied: readonly number[];
  /** When the demo began, in milliseconds since 1970. */
  readonly startedAt: number;
  /** How long a lease lasts, in milliseconds. */
  readonly leaseMs: number;
}

/** Where a person watches the demo. */
export interface DemoView {
  /** Something happened; `isStrong` where it is what the demo is about. */
  note(line: string, isStrong?: boolean): void;
  /** To be called often. */
  refresh(state: DemoState): void;
  /** What is printed from now on stands below. */
  end(): void;
}

const PROGRESS_MS = 1000;

/** Plain lines, for a pipe, a file or CI: what happens, and the progress once a second. */
export const createPlainView = (print: (line: string) => void): DemoView => {
  let nextAt = 0;
  return {
    note: (line, isStrong = false) => print(isStrong ? styleText("bold", line) : line),
    refresh: ({ count, done, applied }) => {
      if (Date.now() < nextAt) return;
      nextAt = Date.now() + PROGRESS_MS;
      const shares = applied.map((batches, worker) => `${workerLabel(worker)} ${batches}`);
      print(`${String(done).padStart(4)} of ${count} records done, batches: ${shares.join(", ")}`);
    },
    end: () => {},
  };
};
