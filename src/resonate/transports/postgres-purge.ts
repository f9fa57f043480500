import { INTERNAL_ID } from "../request.ts";
import { openDatabase } from "./database.ts";

/** For a database that is large or busy, in milliseconds. */
const STATEMENT_TIMEOUT_MS = 600_000;
/** Promises that are deleted in one transaction. */
const LIMIT = 10_000;

/** As the schema's gc has it. */
const FINISHED = `promises.state <> 'pending' AND promises.settled_at <= $1
  AND NOT EXISTS (SELECT FROM resonate.promises AS root WHERE root.id = promises.origin_id AND root.state = 'pending')`;

const TAGS = {
  name: "tags",
  text: `SELECT DISTINCT tags ->> $2 AS value FROM resonate.promises WHERE ${FINISHED} AND tags ? $2 ORDER BY 1`,
};
const COUNT = {
  name: "count",
  text: `SELECT count(*)::float8 AS n FROM resonate.promises WHERE ${FINISHED}`,
};
const GC = { name: "gc", text: `SELECT resonate.gc($1, ${LIMIT})::float8 AS n` };
/** Steps that never ended, of executions that are gone. The schema leaves them. */
const LEFT_BEHIND = {
  name: "left-behind",
  text: `
WITH gone AS (
  DELETE FROM resonate.promises WHERE state = 'pending' AND NOT external AND origin_id <> id
    AND NOT starts_with(id, $1)
    AND NOT EXISTS (SELECT FROM resonate.promises AS root WHERE root.id = promises.origin_id)
  RETURNING 1
) SELECT count(*)::float8 AS n FROM gone`,
};

/** The finished executions of a database. */
export interface Finished extends AsyncDisposable {
  /** The values that a tag has among them. */
  valuesOf(tag: string): Promise<string[]>;
  /** How many promises they are: their own, and those of their steps. */
  count(): Promise<number>;
  /** Deletes them, some thousand at a time; gives back how many promises they were. */
  delete(signal: AbortSignal): Promise<number>;
}

/** Executions that had ended at the time `before`, in milliseconds since 1970, in the Postgres at `url`. */
export const findFinished = (url: string, before: number): Finished => {
  const { query, close } = openDatabase(url, STATEMENT_TIMEOUT_MS);
  return {
    valuesOf: async (tag) => (await query<{ value: string }>(TAGS, [before, tag])).map(({ value }) => value),
    count: async () => (await query<{ n: number }>(COUNT, [before]))[0]?.n ?? 0,
    delete: async (signal) => {
      let sum = 0;
      for (;;) {
        signal.throwIfAborted();
        const [{ n } = { n: 0 }] = await query<{ n: number }>(GC, [before]);
        sum += n;
        if (n < LIMIT) break;
      }
      const [{ n } = { n: 0 }] = await query<{ n: number }>(LEFT_BEHIND, [INTERNAL_ID]);
      return sum + n;
    },
    [Symbol.asyncDispose]: close,
  };
};
