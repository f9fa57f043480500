import { styleText } from "node:util";
import type { KafkaMessage } from "kafkajs";
import type { LedgerEntry, RecordStore } from "../jobs/deletion/records.ts";
import { STEP_ID_HEADER } from "../jobs/deletion/steps.ts";

/** One thing that must hold, and what was seen. */
export interface Finding {
  readonly claim: string;
  readonly holds: boolean;
  readonly seen: string;
}

/** One message of the completions topic. */
export interface Completion {
  readonly recordId: string;
  /** The same for repeats of one completion. */
  readonly stepId: string;
}

/** What a run left behind. */
export interface Outcome {
  readonly seeded: readonly { readonly recordId: string; readonly rows: number }[];
  readonly records: Pick<RecordStore, "countRows" | "ledger">;
  readonly completions: readonly Completion[];
}

const sum = (numbers: readonly number[]) => numbers.reduce((total, n) => total + n, 0);

/** Batches applied more than once: the same batch of the same record under two step ids. */
const findDoubles = (ledger: readonly LedgerEntry[]): number => {
  const applied = Map.groupBy(ledger, ({ recordId, batch }) => `${recordId} ${batch}`);
  return sum([...applied.values()].map((entries) => entries.length - 1));
};

/** Judges a run by the row store, its ledger and the completions topic. */
export const judge = ({ seeded, records, completions }: Outcome): Finding[] => {
  const ledger = records.ledger();
  const rows = sum(seeded.map((record) => record.rows));
  const deleted = sum(ledger.map((entry) => entry.deleted));
  const left = records.countRows();
  const completed = new Set(completions.map((completion) => completion.recordId));
  const missing = seeded.filter(({ recordId }) => !completed.has(recordId));
  const doubles = findDoubles(ledger);
  const repeats = sum(ledger.map((entry) => entry.repeats));
  const executions = Map.groupBy(completions, ({ recordId }) => recordId);
  const twice = [...executions.values()].filter((own) => new Set(own.map(({ stepId }) => stepId)).size > 1);
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
      claim: "every record has one execution",
      holds: twice.length === 0,
      seen: `${twice.length} records with completions of two executions`,
    },
    {
      claim: "no recorded batch ran twice",
      holds: doubles === 0,
      seen: `${ledger.length} batches, ${doubles} doubled, ${repeats} answered from the ledger after a crash`,
    },
  ];
};

/** A completion, as its message has it: `[recordId, offset]` as JSON, and the step's id in a header. */
export const toCompletion = ({ value, headers }: KafkaMessage): Completion => {
  const [recordId]: unknown[] = JSON.parse(String(value));
  return { recordId: String(recordId), stepId: String(headers?.[STEP_ID_HEADER]) };
};

/** Step ids of completions that may come again, and of those that may not but for a reason that can be told. */
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
  const repeated = completions.filter(({ stepId }) => seen.size === seen.add(stepId).size);
  const unexplained = repeated.filter(({ stepId }) => !completionsInFlight.has(stepId));
  const leaseLost = unexplained.filter(({ stepId }) => completionsTakenOver.has(stepId));
  const cause = `, ${leaseLost.length} of them since their lease ended though nothing had befallen their worker`;
  return {
    claim: "a completion came again only where a fault fell between its send and its checkpoint",
    holds: unexplained.length === 0,
    seen: `${repeated.length} repeated, ${unexplained.length} without such a fault${unexplained.length > 0 ? cause : ""}`,
  };
};

export const printFindings = (findings: readonly Finding[], print: (line: string) => void): void => {
  print("");
  for (const { claim, holds, seen } of findings) {
    print(`${holds ? styleText("green", "  ok  ") : styleText("red", " FAIL ")} ${claim}: ${seen}`);
  }
};
