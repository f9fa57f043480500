import { parseArgs } from "node:util";
import { listJobs, loadJob } from "../jobs/load-job.ts";
import { createLog } from "../support/log.ts";
import { runCommand } from "../support/run-command.ts";
import { readEnv } from "../support/settings.ts";
import { aborted } from "../support/signals.ts";
import { startWorker } from "../worker/worker.ts";

await runCommand(
  async (signal) => {
    const { positionals } = parseArgs({ allowPositionals: true });
    const job = await loadJob(positionals);
    const log = createLog(`worker ${process.pid}`);
    await using worker = await startWorker({ job, env: readEnv(process.env), log, signal });
    await Promise.race([aborted(signal), worker.failed]);
  },
  {
    help: `npm start [-- <job>]

Starts a worker. Jobs: ${listJobs().join(", ")} (the first one named 'deletion' by default), or the path of a job.ts.
Settings come from the environment and from .env: 'npm run settings' prints them all.`,
    needsReader: false,
  },
);
