import { defineJob } from "../../worker/job.ts";
import { readMessage } from "./message.ts";
import { openRecords } from "./open-records.ts";
import { seed } from "./seed.ts";
import { settings } from "./settings.ts";
import { createTrouble } from "./simulated-trouble.ts";
import { createSteps } from "./steps.ts";
import { createWorkflow } from "./workflow.ts";

/** Deletes a record's rows in batches, with a pause between them, then reports the record as done. */
export const job = defineJob({
  name: "deletion",
  defaults: {
    TOPIC_SOURCE: "records_to_be_deleted",
    TOPIC_COMPLETIONS: "records_that_were_deleted",
    TOPIC_DEAD_LETTERS: "records_to_be_deleted.dlq",
    KAFKA_GROUP_ID: "record_consumer_group",
    RESONATE_GROUP: "workers",
    STEP_CONCURRENCY: 16,
    STEP_MAX_ATTEMPTS: 100,
  },
  settings,
  read: readMessage,
  open: async (own, { resources, worker, random }) => ({
    records: resources.use(await openRecords(own.RECORDS_DB, { worker })),
    simulateTrouble: createTrouble(own, random),
  }),
  createSteps,
  createWorkflow,
  seed,
});
