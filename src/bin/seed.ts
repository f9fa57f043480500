import { parseArgs } from "node:util";
import { loadJob } from "../jobs/load-job.ts";
import { createLog } from "../support/create-log.ts";
import { runCommand } from "../support/run-command.ts";
import { parseCount, readEnv } from "../support/settings.ts";
import { openKafka } from "../worker/open-kafka.ts";
import { seed } from "../worker/seed.ts";

const HELP = `npm run seed [-- <job>] [-- -n <messages>]

Makes messages for a job (25 by default), and the rows they need.`;

await runCommand(
  async (signal) => {
    const options = { number: { type: "string", short: "n", default: "25" } } as const;
    const { values, positionals } = parseArgs({ options, allowPositionals: true });
    const count = parseCount("-n", values.number, { max: 1_000_000 });
    const job = await loadJob(positionals);
    const env = readEnv(process.env);
    // Stdout is for the outcome.
    const log = await createLog("seed", { env, stream: process.stderr });
    const { settings, kafka } = await openKafka(job, { env, clientId: "seed", log, signal });
    for await (const { about, partition, offset } of seed({
      job,
      settings,
      kafka,
      count,
      random: Math.random,
      signal,
    })) {
      console.log(`${about}: partition ${partition}, offset ${offset}`);
    }
    console.log(`${count} messages are in ${settings.TOPIC_SOURCE}`);
  },
  { help: HELP },
);
