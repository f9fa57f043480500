import type { Finding } from "../src/demo/verdict.ts";
import type { Plot } from "./plot.ts";

/** How a measurement is run. */
export interface Run {
  /** Small sizes, to see that all works: the numbers mean nothing. */
  readonly quick: boolean;
  readonly signal: AbortSignal;
  /** Told how far the measurement is, 0 to 1, and what it does next. */
  readonly onProgress: (share: number, what: string) => void;
}

export interface Table {
  readonly head: readonly string[];
  readonly rows: readonly (readonly (string | number)[])[];
}

/** What a measurement found. */
export interface Outcome {
  /** The bounds, and whether they hold. */
  readonly findings: readonly Finding[];
  /** What the numbers do not say by themselves. */
  readonly notes: readonly string[];
  readonly tables: readonly Table[];
  readonly plots: readonly Plot[];
  /** All of them, as they came; goes into the results file. */
  readonly samples: unknown;
}

export interface Measurement {
  readonly name: string;
  readonly title: string;
  /** What is measured, and how. */
  readonly method: string;
  /** About how long it takes at full size. */
  readonly seconds: number;
  run(run: Run): Promise<Outcome>;
}
