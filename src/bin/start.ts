import { parseArgs } from "node:util";
import manifest from "../../package.json" with { type: "json" };
import { listJobs, loadJob } from "../jobs/load-job.ts";
import { startObserver } from "../observe/observer.ts";
import { createLog } from "../support/create-log.ts";
import { runCommand } from "../support/run-command.ts";
import { readEnv } from "../support/settings.ts";
import { aborted } from "../support/signals.ts";
import { parseJobSettings } from "../worker/settings.ts";
import { startWorker } from "../worker/worker.ts";

await runCommand(
  async (signal) => {
    const { positionals } = parseArgs({ allowPositionals: true });
    const job = await loadJob(positionals);
    const env = readEnv(process.env);
    const settings = parseJobSettings(job, env);
    const log = await createLog("worker", { env });
    await using observer = await startObserver({
      host: settings.HTTP_HOST,
      port: settings.HTTP_PORT,
      group: settings.KAFKA_GROUP_ID,
      takesMessages: settings.TAKE_MESSAGES === "yes",
      version: manifest.version,
      log,
    });
    await using worker = await startWorker({ job, env, log, signal });
    observer.observe(worker);
    await Promise.race([aborted(signal), worker.failed]);
  },
  {
    help: `npm start [-- <job>]

Starts a worker. Jobs: ${listJobs().join(", ")} (the first one named 'deletion' by default), or the path of a job.ts.
Settings come from the environment and from .env: 'npm run settings' prints them all.`,
    needsReader: false,
  },
);
