import { randomUUID } from "node:crypto";
import type { SeedMessage } from "../../worker/job.ts";
import { openRecords } from "./open-records.ts";

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

/** Records whose rows are added in one transaction. */
const CHUNK = 1000;

/**
 * Makes `count` records with rows in the row store, and the messages with their ids: the rows first, so that no worker
 * meets an id before its rows.
 *
 * @throws {RecordStoreError} what `openRecords` throws
 */
export async function* seed({ settings, count, random }: SeedOptions): AsyncGenerator<SeededRecord> {
  await using records = await openRecords(settings.RECORDS_DB, { worker: "seed", lockWaitMs: 30_000 });
  for (let left = count; left > 0; left -= CHUNK) {
    const rowsByRecord = new Map<string, number>();
    for (let i = 0; i < Math.min(left, CHUNK); i++) {
      rowsByRecord.set(randomUUID().replaceAll("-", ""), randomRows(settings.BATCH_SIZE, random));
    }
    await records.addRows(rowsByRecord);
    for (const [recordId, rows] of rowsByRecord) {
      const batches = Math.ceil(rows / settings.BATCH_SIZE);
      const about = `record ${recordId} with ${rows} rows in ${batches} batches`;
      yield { key: recordId, value: JSON.stringify(recordId), rows, about };
    }
  }
}
