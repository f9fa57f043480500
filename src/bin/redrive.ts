import { parseArgs } from "node:util";
import { loadJob } from "../jobs/load-job.ts";
import { createLog } from "../support/create-log.ts";
import { assertNotTaken } from "../support/npm-options.ts";
import { runCommand } from "../support/run-command.ts";
import { readEnv } from "../support/settings.ts";
import { visible } from "../support/visible.ts";
import { openKafka } from "../worker/open-kafka.ts";
import { readReason } from "../worker/original.ts";
import { redrive } from "../worker/redrive.ts";

const HELP = `npm run redrive [-- <job>] [-- --reason <reason>] [-- --dry-run]

Sends dead letters back to the topic they came from: all, or those of one reason, and none twice.
Those that came from another topic are left to the redrive of its job. One that cannot go back stays, and is tried again
by the next redrive. --dry-run only counts them, by reason.`;

/** A line about the progress, at most so often until its end, in milliseconds. */
const PROGRESS_INTERVAL_MS = 1000;
/** So many letters that stay are named one by one. */
const MAX_NAMED = 20;

await runCommand(
  async (signal) => {
    const options = { reason: { type: "string" }, "dry-run": { type: "boolean", default: false } } as const;
    const { values, positionals } = parseArgs({ options, allowPositionals: true });
    assertNotTaken("redrive", { reason: values.reason, "dry-run": values["dry-run"] }, process.env);
    const job = await loadJob(positionals);
    const env = readEnv(process.env);
    // Stdout is for the outcome.
    const log = await createLog("redrive", { env, stream: process.stderr });
    const dryRun = values["dry-run"];
    const { settings, kafka } = await openKafka(job, {
      env,
      clientId: "redrive",
      log,
      signal,
      readOnly: dryRun,
    });
    let nextLine = Date.now() + PROGRESS_INTERVAL_MS;
    let staying = 0;
    let passedOver: string | undefined;
    const driven = await redrive({
      settings,
      kafka,
      reason: values.reason,
      dryRun,
      onProgress: (looked, total) => {
        if (Date.now() < nextLine && looked < total) return;
        nextLine = Date.now() + PROGRESS_INTERVAL_MS;
        log.info(`looked at ${looked} of ${total} letters`);
      },
      onStaying: ({ letter, why }) => {
        staying += 1;
        if (staying <= MAX_NAMED) log.warn(`a letter of reason ${readReason(letter)} stays: ${why}`);
      },
      onPassedOver: (counts) => {
        const parts = [...counts].sort().map(([topic, n]) => `${n} of ${visible(topic)}`);
        passedOver = `letters of other topics are passed over: ${parts.join(", ")}`;
      },
      log,
      signal,
    });
    for (const [reason, total] of driven) console.log(`${reason}: ${total}`);
    const sum = [...driven.values()].reduce((total, n) => total + n, 0);
    const { TOPIC_SOURCE, TOPIC_DEAD_LETTERS } = settings;
    if (passedOver !== undefined) console.log(passedOver);
    if (staying > 0)
      console.log(`${staying} messages stay in ${TOPIC_DEAD_LETTERS}: they cannot be sent back`);
    console.log(
      `${sum} messages ${dryRun ? "would go" : "went"} from ${TOPIC_DEAD_LETTERS} back to ${TOPIC_SOURCE}`,
    );
  },
  { help: HELP },
);
