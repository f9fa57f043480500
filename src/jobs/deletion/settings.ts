import { POSTGRES_URL, parsePostgres } from "../../support/postgres.ts";
import { integer, number } from "../../support/settings.ts";

const HOUR_MS = 3_600_000;

/** Any other URL would be taken for a path, and `:memory:` for a file. A letter and a colon are a drive of Windows. */
const parsePlace = (text: string): string | undefined =>
  /^([a-z][a-z\d+.-]+:|:|[a-z]:\/\/)/i.test(text) ? parsePostgres(text) : text || undefined;

/** The settings of the deletion alone. */
export const settings = {
  BATCH_SIZE: integer(10, { min: 1, max: 100_000, unit: "rows", about: "Rows a batch." }),
  BATCH_PAUSE_MS: integer(5000, {
    min: 0,
    max: 365 * 24 * HOUR_MS,
    unit: "milliseconds",
    about: "Durable sleep between two batches, in milliseconds.",
  }),
  BATCHES_PER_SEGMENT: integer(5, {
    min: 1,
    max: 1000,
    unit: "batches",
    about: "After so many batches a record goes on in a fresh execution, whose replay is short again.",
  }),
  SIMULATED_FAILURE_RATE: number(0.25, {
    expected: "a number from 0 up to, but not including, 1",
    isValid: (rate) => rate >= 0 && rate < 1,
    about: "Share of batches that fail at random, to show retries; 0 turns that off.",
  }),
  SIMULATED_LATENCY_MS: integer(0, {
    min: 0,
    max: HOUR_MS,
    unit: "milliseconds",
    about: "How long a batch takes at least, in milliseconds, to stand for a slow job.",
  }),
  RECORDS_DB: {
    fallback: "data/records.db",
    expected: `the path of a file, or ${POSTGRES_URL}`,
    about:
      "The row store: a SQLite file, created if it is missing, or a database: postgres://user:password@host:5432/name.",
    parse: parsePlace,
  },
};
