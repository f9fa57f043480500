import { createRandom } from "../support/random.ts";
import type { AnyJob } from "../worker/job.ts";
import { type Counts, type Fault, type FaultKind, formatFaults } from "./faults.ts";
import type { Finding } from "./judge.ts";
import { type Run, runScenario } from "./run.ts";
import type { Scenario } from "./scenario.ts";

/** A finding, and the point at which it was made, as `--at` takes it: empty for the run without fault. */
interface Failure extends Finding {
  readonly at: string;
}

/** What came of running a job's scenario with faults at all points. */
export interface Report {
  /** Runs with a fault or two. */
  readonly points: number;
  /** How long they took. */
  readonly seconds: number;
  readonly failures: readonly Failure[];
}

export interface CrashOptions {
  /** So many pairs of crashes, and as many of another fault and a crash; all of them where there are fewer. */
  readonly maxPairs?: number;
  /** Another one takes another sample. */
  readonly seed?: number;
  /** Ends it early. */
  readonly signal?: AbortSignal;
}

/** The pairs that a whole crash test runs. */
const ALL_PAIRS = 5000;
/** A job that fails at so many points fails for one reason, or for two. */
const MAX_FAILURES = 20;

const upTo = (kind: FaultKind, n: number): Fault[] =>
  Array.from({ length: n }, (_, index) => ({ kind, at: index + 1 }));

const crashes = ({ requests, effects }: Counts): Fault[] => [
  ...upTo("before", requests),
  ...upTo("after", requests),
  ...upTo("effect", effects),
];

const others = ({ requests, steps }: Counts): Fault[] => [
  // The last one strikes at the end.
  ...upTo("redeliver", requests + 1),
  ...upTo("fail-before", steps),
  ...upTo("fail-after", steps),
];

/** At most `size` of the items, the same for the same seed. */
const sample = <T>(items: readonly T[], size: number, seed: number): readonly T[] => {
  if (items.length <= size) return items;
  const random = createRandom(seed);
  return items
    .map((item) => ({ item, rank: random() }))
    .sort((a, b) => a.rank - b.rank)
    .slice(0, size)
    .map(({ item }) => item);
};

/**
 * Runs a job's scenario without fault, then with one fault at every point there is, then with a crash at the points of
 * what follows each fault: pairs, of which there are at most twice `maxPairs`. Pairs are left out when a point of its
 * own has failed.
 *
 * Runs in this process, one run after the other; while it does, `Date` is the runs' clock for all of the process.
 *
 * @throws {SettingsError} when the scenario's settings are not valid; the reason of `signal` when it is aborted
 */
export const crashEverywhere = async (
  job: AnyJob,
  scenario: Scenario<object>,
  { maxPairs = ALL_PAIRS, seed = 1, signal }: CrashOptions = {},
): Promise<Report> => {
  const failures: Failure[] = [];
  const start = performance.now();
  let points = 0;

  const run = async (faults: readonly Fault[]): Promise<Run> => {
    signal?.throwIfAborted();
    const result = await runScenario(job, scenario, faults);
    failures.push(...result.findings.map((finding) => ({ ...finding, at: formatFaults(faults) })));
    if (result.struck && faults.length > 0) points += 1;
    return result;
  };
  /** Runs each fault alone; gives the pairs of it and a crash in what follows. */
  const runEach = async (faults: readonly Fault[]): Promise<Fault[][]> => {
    const pairs: Fault[][] = [];
    for (const first of faults) {
      if (failures.length >= MAX_FAILURES) break;
      const { counts } = await run([first]);
      pairs.push(...crashes(counts).map((second) => [first, second]));
    }
    return pairs;
  };

  const { counts, findings } = await run([]);
  if (findings.length === 0) {
    const groups = [await runEach(crashes(counts)), await runEach(others(counts))];
    for (const pair of groups.flatMap((pairs) => [...sample(pairs, maxPairs, seed)])) {
      if (failures.length >= MAX_FAILURES) break;
      await run(pair);
    }
  }
  return { points, seconds: (performance.now() - start) / 1000, failures };
};
