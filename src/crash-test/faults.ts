/** What a fault waits for, by kind. */
const COUNTED = {
  /** The worker dies before the server gets its n-th request. */
  before: "requests",
  /** The worker dies after the server applied its n-th request; the answer is lost. */
  after: "requests",
  /** The worker dies inside the n-th effect, after it took effect. */
  effect: "effects",
  /** The message is dispatched again, by another worker, at the n-th request, or once the run is at its end. */
  redeliver: "requests",
  /** The n-th try of a step fails for good, before it begins. */
  "fail-before": "steps",
  /** The n-th try of a step fails for good, after its effects. */
  "fail-after": "steps",
} as const;

export type FaultKind = keyof typeof COUNTED;

/** One thing that goes wrong in a run, at a point that is counted from 1. */
export interface Fault {
  readonly kind: FaultKind;
  readonly at: number;
}

/** What happened so far: since the last fault, or since the beginning. */
export interface Counts {
  readonly requests: number;
  readonly effects: number;
  readonly steps: number;
}

const isKind = (text: string | undefined): text is FaultKind => text !== undefined && text in COUNTED;

/** The faults of a run as `--at` takes them, such as `before:17,effect:3`. */
export const formatFaults = (faults: readonly Fault[]): string =>
  faults.map(({ kind, at }) => `${kind}:${at}`).join(",");

/** The faults that `formatFaults` wrote, or `undefined` when the text names none. */
export const parseFaults = (text: string): Fault[] | undefined => {
  const faults: Fault[] = [];
  for (const part of text.split(",")) {
    const [, kind, at] = /^([a-z-]+):([1-9]\d{0,8})$/.exec(part) ?? [];
    if (!isKind(kind)) return;
    faults.push({ kind, at: Number(at) });
  }
  return faults;
};

/** What `parseFaults` expects, for error messages. */
export const FAULTS_EXPECTED = `points such as before:17,effect:3, each ${Object.keys(COUNTED).join(", ")} with a number from 1`;

/** The faults of one run. Each waits for its point, which is counted from where the one before it struck. */
export interface Plan {
  readonly counts: Counts;
  /** Those that have not struck. */
  readonly left: readonly Fault[];
  count(what: keyof Counts): void;
  /** Whether a fault of this kind strikes now. It does so once. */
  strikes(kind: FaultKind): boolean;
  /** Whether the next fault is a redelivery, which strikes at the end of a run, too. */
  strikesAtEnd(): boolean;
}

export const createPlan = (faults: readonly Fault[]): Plan => {
  const zero = { requests: 0, effects: 0, steps: 0 };
  let counts = { ...zero };
  let left = faults;
  const strike = (struck: boolean) => {
    if (struck) [left, counts] = [left.slice(1), { ...zero }];
    return struck;
  };
  return {
    get counts() {
      return counts;
    },
    get left() {
      return left;
    },
    count: (what) => {
      counts[what] += 1;
    },
    strikes: (kind) => strike(left[0]?.kind === kind && left[0].at === counts[COUNTED[kind]]),
    strikesAtEnd: () => strike(left[0]?.kind === "redeliver" && left[0].at > counts.requests),
  };
};
