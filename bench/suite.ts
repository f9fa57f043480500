import { styleText } from "node:util";
import { SettingsError } from "../src/support/settings.ts";
import { cost } from "./measure/cost.ts";
import { dispatch } from "./measure/dispatch.ts";
import { growth } from "./measure/growth.ts";
import { headOfLine } from "./measure/head-of-line.ts";
import { idle } from "./measure/idle.ts";
import { lostHost } from "./measure/lost-host.ts";
import { memory } from "./measure/memory.ts";
import { observing } from "./measure/observing.ts";
import { scaleOut } from "./measure/scale-out.ts";
import { slowServer } from "./measure/slow-server.ts";
import { stepBound } from "./measure/step-bound.ts";
import { takeover } from "./measure/takeover.ts";
import type { Measurement } from "./measurement.ts";
import { createProgress } from "./progress.ts";
import type { Result } from "./report.ts";

const all: readonly Measurement[] = [
  dispatch,
  growth,
  memory,
  stepBound,
  headOfLine,
  takeover,
  lostHost,
  slowServer,
  scaleOut,
  cost,
  idle,
  observing,
];

/**
 * The measurements that `names` lists, commas between; all where it is absent.
 *
 * @throws {SettingsError}
 */
export const chooseMeasurements = (names: string | undefined): readonly Measurement[] => {
  if (names === undefined) return all;
  const known = all.map(({ name }) => name).join(", ");
  return names.split(",").map((name) => {
    const found = all.find((measurement) => measurement.name === name.trim());
    if (found) return found;
    throw new SettingsError([`--only: expected some of ${known}, got ${JSON.stringify(name)}`]);
  });
};

export interface SuiteOptions {
  readonly quick: boolean;
  readonly print: (line: string) => void;
  readonly signal: AbortSignal;
}

/** Runs the measurements one after the other, and prints each bound and whether it holds. */
export const runSuite = async (
  measurements: readonly Measurement[],
  { quick, print, signal }: SuiteOptions,
): Promise<Result[]> => {
  const progress = createProgress();
  const total = measurements.reduce((sum, { seconds }) => sum + seconds, 0);
  let before = 0;
  const results: Result[] = [];
  for (const measurement of measurements) {
    const { title, seconds } = measurement;
    const onProgress = (share: number, what: string) =>
      progress.show((before + share * seconds) / total, `${title}: ${what}`);
    onProgress(0, "");
    const outcome = await measurement.run({ quick, signal, onProgress });
    results.push({ measurement, outcome });
    before += seconds;
    progress.end();
    for (const { claim, holds, seen } of outcome.findings)
      print(
        `${holds ? styleText("green", "  ok  ") : styleText("red", " FAIL ")} ${title}: ${claim}: ${seen}`,
      );
  }
  return results;
};
