import { parseArgs } from "node:util";
import { loadJob } from "../jobs/load-job.ts";
import { createLog } from "../support/log.ts";
import { runCommand } from "../support/run-command.ts";
import { readEnv } from "../support/settings.ts";
import { openKafka } from "../worker/open-kafka.ts";
import { redrive } from "../worker/redrive.ts";

const HELP = `npm run redrive [-- <job>] [-- --reason <reason>]

Sends dead letters back to the topic they came from: all, or those of one reason.`;

await runCommand(
  async (signal) => {
    const options = { reason: { type: "string" } } as const;
    const { values, positionals } = parseArgs({ options, allowPositionals: true });
    const job = await loadJob(positionals);
    // Stdout is for the outcome.
    const log = createLog("redrive", process.stderr);
    const env = readEnv(process.env);
    const { settings, kafka } = await openKafka(job, { env, clientId: "redrive", log, signal });
    const onDriven = (reason: string, total: number) => {
      if (total % 100 === 0) console.log(`${total} of reason ${reason} are back`);
    };
    const driven = await redrive({ settings, kafka, reason: values.reason, onDriven, signal });
    for (const [reason, total] of driven) console.log(`${reason}: ${total}`);
    const sum = [...driven.values()].reduce((total, n) => total + n, 0);
    console.log(`${sum} messages went from ${settings.TOPIC_DEAD_LETTERS} back to ${settings.TOPIC_SOURCE}`);
  },
  { help: HELP },
);
