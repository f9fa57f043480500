import { randomUUID } from "node:crypto";
import type { SeedMessage } from "../../worker/job.ts";
import { openRecords } from "./records.ts";

export interface SeedOptions {
  readonly settings: { readonly BATCH_SIZE: number; readonly RECORDS_DB: string };
  /** How many records. */
  readonly count: number;
  /** A number from 0 up to, but not including, 1. */
  readonly random: () => number;
}

/** A record as it was seeded. */
export interface SeededRecord extends SeedMessage {
  readonly rows: number;
}

/** As many rows as a random number of batches takes: geometric, a chance of one in four to end after each. */
export const randomRows = (batchSize: number, random: () => number): number => {
  const fullBatches = Math.floor(Math.log(1 - random()) / Math.log(0.75));
  return fullBatches * batchSize + 1 + Math.floor(random() * batchSize);
};

/**
 * Makes `count` records with rows in the row store, and the messages with their ids: the rows first, so that no worker
 * meets an id before its rows.
 *
 * @throws {RecordStoreError}
 */
export const seed = ({ settings, count, random }: SeedOptions): SeededRecord[] => {
  const rowsByRecord = new Map<string, number>();
  for (let i = 0; i < count; i++) {
    rowsByRecord.set(randomUUID().replaceAll("-", ""), randomRows(settings.BATCH_SIZE, random));
  }
  using records = openRecords(settings.RECORDS_DB, { worker: "seed", busyTimeoutMs: 30_000 });
  records.addRows(rowsByRecord);
  return [...rowsByRecord].map(([recordId, rows]) => ({
    key: recordId,
    value: JSON.stringify(recordId),
    rows,
    about: `record ${recordId} with ${rows} rows in ${Math.ceil(rows / settings.BATCH_SIZE)} batches`,
  }));
};
