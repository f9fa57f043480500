import type { LedgerEntry, RecordStore } from "../records.ts";
import type { SeededRecord } from "../seed.ts";
import type { Completion } from "./completions.ts";

/** One thing that must hold, and what was seen. */
export interface Finding {
  readonly claim: string;
  readonly holds: boolean;
  readonly seen: string;
}

/** What a run left behind. */
export interface Outcome {
  readonly seeded: readonly SeededRecord[];
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
