import { parseArgs } from "node:util";
import { loadJob } from "../jobs/load-job.ts";
import { cancel } from "../operate/cancel.ts";
import { openServer } from "../operate/server.ts";
import { createLog } from "../support/create-log.ts";
import { runCommand } from "../support/run-command.ts";
import { readEnv, SettingsError } from "../support/settings.ts";
import { visible } from "../support/visible.ts";
import { warnOfMisspelt } from "../worker/open-kafka.ts";
import { parseJobSettings } from "../worker/settings.ts";

const HELP = `npm run cancel [-- <job>] -- <id>

Ends a record's execution at its next checkpoint. Its message goes to the dead letters with the reason 'cancelled', from
where 'npm run redrive' drives it again. Takes effect when a worker runs. Exits with 1 where there is nothing to cancel.`;

await runCommand(
  async (signal) => {
    const { positionals } = parseArgs({ allowPositionals: true });
    const id = positionals.at(-1);
    if (id === undefined) throw new SettingsError(["expected the id of a record, got none"]);
    const job = await loadJob(positionals.slice(0, -1));
    const env = readEnv(process.env);
    // Stdout is for the outcome.
    const log = await createLog("cancel", { env, stream: process.stderr });
    const settings = parseJobSettings(job, env);
    warnOfMisspelt(job, env, log);
    await using server = await openServer(job, settings, { log, signal });
    await cancel(server.send, server.service, id, signal);
    const { TOPIC_DEAD_LETTERS } = settings;
    console.log(
      `record ${visible(id)} is cancelled: its message goes to ${TOPIC_DEAD_LETTERS} at its next checkpoint`,
    );
  },
  { help: HELP },
);
