import { styleText } from "node:util";
import type { KafkaMessage } from "kafkajs";
import type { LedgerEntry, RecordStore } from "../jobs/deletion/records.ts";
import { IDEMPOTENCY_KEY_HEADER } from "../worker/publish.ts";
import type { RunningSteps } from "./running-steps.ts";

/** One thing that must hold, and what was seen. */
export interface Finding {
  readonly claim: string;
  readonly holds: boolean;
  readonly seen: string;
}

/** One message of the completions topic. */
export interface Completion {
  readonly recordId: string;
  /** Idempotency key: the same for repeats of one completion. */
  readonly key: string;
}

/** What a run left behind. */
export interface Outcome {
  readonly seeded: readonly { readonly key: string; readonly rows: number }[];
  readonly records: Pick<RecordStore, "countRows" | "ledger">;
  readonly completions: readonly Completion[];
  readonly steps: Pick<RunningSteps, "executionsWith">;
}

const sum = (numbers: readonly number[]) => numbers.reduce((total, n) => total + n, 0);

/** Batches applied more than once: the same batch of the same record under two keys. */
const findDoubles = (ledger: readonly LedgerEntry[]): number => {
  const applied = Map.groupBy(ledger, ({ recordId, batch }) => `${recordId} ${batch}`);
  return sum([...applied.values()].map((entries) => entries.length - 1));
};

/** Judges a run by the row store, its ledger and the completions topic. */
export const judge = async ({ seeded, records, completions, steps }: Outcome): Promise<Finding[]> => {
  const ledger = await records.ledger();
  const rows = sum(seeded.map((record) => record.rows));
  const deleted = sum(ledger.map((entry) => entry.deleted));
  const left = await records.countRows();
  const completed = new Set(completions.map((completion) => completion.recordId));
  const missing = seeded.filter(({ key }) => !completed.has(key));
  const doubles = findDoubles(ledger);
  const repeats = sum(ledger.map((entry) => entry.repeats));
  const ran = seeded.map(({ key }) => steps.executionsWith("enqueueCompletion", key));
  return [
    {
      claim: "every row is gone",
      holds: left === 0 && deleted === rows,
      seen: `${deleted} of ${rows} deleted, ${left} left`,
    },
    {
      claim: "every record is completed",
      holds: missing.length === 0,
      seen: `${seeded.length - missing.length} of ${seeded.length}, in ${completions.length} messages`,
    },
    {
      claim: "every record ran once",
      holds: ran.every((executions) => executions === 1),
      seen: `${ran.filter((executions) => executions > 1).length} of ${seeded.length} in two executions`,
    },
    {
      claim: "no recorded batch ran twice",
      holds: doubles === 0,
      seen: `${ledger.length} batches, ${doubles} doubled, ${repeats} answered from the ledger`,
    },
  ];
};

/** A completion, as its message has it: `[recordId, offset]` as JSON, and the idempotency key in a header. */
export const toCompletion = ({ value, headers }: KafkaMessage): Completion => {
  const [recordId]: unknown[] = JSON.parse(String(value));
  return { recordId: String(recordId), key: String(headers?.[IDEMPOTENCY_KEY_HEADER]) };
};

/** Keys of completions that may come again, and of those that may not but for a reason that can be told. */
export interface RepeatCauses {
  readonly completionsInFlight: ReadonlySet<string>;
  readonly completionsTakenOver: ReadonlySet<string>;
}

/** Judges completions that came again: each must have been in flight, unconfirmed, when a fault struck. */
export const judgeRepeats = (
  completions: readonly Completion[],
  { completionsInFlight, completionsTakenOver }: RepeatCauses,
): Finding => {
  const seen = new Set<string>();
  const repeated = completions.filter(({ key }) => seen.size === seen.add(key).size);
  const unexplained = repeated.filter(({ key }) => !completionsInFlight.has(key));
  const leaseLost = unexplained.filter(({ key }) => completionsTakenOver.has(key));
  const cause = `, ${leaseLost.length} of them since their lease ended though nothing had befallen their worker`;
  return {
    claim: "a completion came again only where a fault fell between its send and its checkpoint",
    holds: unexplained.length === 0,
    seen: `${repeated.length} repeated, ${unexplained.length} without such a fault${unexplained.length > 0 ? cause : ""}`,
  };
};

/** How a worker process ended that was asked to stop. */
export interface WorkerEnd {
  readonly exit: number | NodeJS.Signals;
  readonly lastLine: string;
}

/** Judges stops: each worker must have ended by itself. */
export const judgeStops = (ends: readonly WorkerEnd[]): Finding => {
  // One that was asked before its first line had not begun: Node itself ends it, by the signal.
  const failed = ends.filter(({ exit, lastLine }) => exit !== 0 && !(exit === "SIGTERM" && lastLine === ""));
  const lines = failed.map(({ exit, lastLine }) => `(${exit}) ${lastLine}`).join(" ");
  return {
    claim: "every worker that was asked to stop did",
    holds: failed.length === 0,
    seen: `${ends.length} asked, ${failed.length} did not end with exit code 0 ${lines}`,
  };
};

export const printFindings = (findings: readonly Finding[], print: (line: string) => void): void => {
  print("");
  for (const { claim, holds, seen } of findings) {
    print(`${holds ? styleText("green", "  ok  ") : styleText("red", " FAIL ")} ${claim}: ${seen}`);
  }
};
