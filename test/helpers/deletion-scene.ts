import { randomUUID } from "node:crypto";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { job } from "../../src/jobs/deletion/job.ts";
import { openRecords } from "../../src/jobs/deletion/open-records.ts";
import type { LedgerEntry, RecordStore } from "../../src/jobs/deletion/records.ts";
import { parseJobSettings } from "../../src/worker/settings.ts";
import { type Env, openScene, type Scene } from "./scene.ts";

/** A scene for the deletion, with its row store. */
export interface DeletionScene extends Scene {
  readonly settings: ReturnType<typeof parseJobSettings<typeof job.settings>>;
  readonly records: RecordStore;
  /** Adds rows and produces the record's id; gives back the id. */
  seed(options: { batches: number; partition?: number; recordId?: string }): Promise<string>;
  /** The record's entries in the ledger. */
  entriesOf(recordId: string): Promise<LedgerEntry[]>;
  /** How often a batch of the record was applied. */
  batchesOf(recordId: string): Promise<number>;
}

/** Sets a scene for the deletion; all of it is gone when the test ends. */
export const setScene = async (t: TestContext, overrides: Env = {}): Promise<DeletionScene> => {
  const scene = await openScene(t, job, (folder) => ({
    BATCH_PAUSE_MS: "100",
    SIMULATED_FAILURE_RATE: "0",
    RECORDS_DB: join(folder, "records.db"),
    ...overrides,
  }));
  const settings = parseJobSettings(job, scene.env);
  const records = scene.resources.use(
    await openRecords(settings.RECORDS_DB, { worker: "test", lockWaitMs: 5000 }),
  );
  const entriesOf = async (id: string) => (await records.ledger()).filter(({ recordId }) => recordId === id);
  return {
    ...scene,
    settings,
    records,
    seed: async ({ batches, partition, recordId = `record-${randomUUID()}` }) => {
      await records.addRows(new Map([[recordId, batches * settings.BATCH_SIZE]]));
      const place = partition === undefined ? {} : { partition };
      await scene.produce({ key: recordId, value: JSON.stringify(recordId), ...place });
      return recordId;
    },
    entriesOf,
    batchesOf: async (id) => (await entriesOf(id)).length,
  };
};
