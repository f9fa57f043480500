import { parseArgs } from "node:util";
import { loadJob } from "../jobs/load-job.ts";
import { inspect } from "../operate/inspect.ts";
import { inspectionLines } from "../operate/inspect-text.ts";
import { openServer } from "../operate/server.ts";
import { createLog } from "../support/create-log.ts";
import { runCommand } from "../support/run-command.ts";
import { readEnv, SettingsError } from "../support/settings.ts";
import { warnOfMisspelt } from "../worker/open-kafka.ts";
import { parseJobSettings } from "../worker/settings.ts";

const HELP = `npm run inspect [-- <job>] -- <id> [--json]

Says what becomes of a record: its state, the worker that holds it, its steps and when it wakes. Exits with 1 where
there is no execution of it.`;

await runCommand(
  async (signal) => {
    const options = { json: { type: "boolean", default: false } } as const;
    const { values, positionals } = parseArgs({ options, allowPositionals: true });
    const id = positionals.at(-1);
    if (id === undefined) throw new SettingsError(["expected the id of a record, got none"]);
    const job = await loadJob(positionals.slice(0, -1));
    const env = readEnv(process.env);
    // Stdout is for the outcome.
    const log = await createLog("inspect", { env, stream: process.stderr });
    const settings = parseJobSettings(job, env);
    warnOfMisspelt(job, env, log);
    await using server = await openServer(job, settings, { log, signal });
    const found = await inspect(server.send, server.service, id);
    console.log(values.json ? JSON.stringify(found, null, 2) : inspectionLines(found, Date.now()).join("\n"));
  },
  { help: HELP },
);
