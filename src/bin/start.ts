import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import manifest from "../../package.json" with { type: "json" };
import { listJobs, loadJob } from "../jobs/load-job.ts";
import { keepEvents } from "../observe/event-file.ts";
import { startObserver } from "../observe/observer.ts";
import { createLog } from "../support/create-log.ts";
import { runCommand } from "../support/run-command.ts";
import { parseCount, readEnv } from "../support/settings.ts";
import { aborted, isOrphan } from "../support/signals.ts";
import { forkWorkers } from "../worker/fork-workers.ts";
import { reportLeases } from "../worker/report.ts";
import { parseJobSettings } from "../worker/settings.ts";
import { startWorker } from "../worker/worker.ts";

const MAX_WORKERS = 256;
/** How long running steps may take to end once the supervising process is gone, in milliseconds. */
const ORPHAN_GRACE_MS = 300;

await runCommand(
  async (signal) => {
    const { values, positionals } = parseArgs({
      allowPositionals: true,
      options: { workers: { type: "string", default: "1" } },
    });
    const count = parseCount("--workers", values.workers, { max: MAX_WORKERS });
    const job = await loadJob(positionals);
    const env = readEnv(process.env);
    const settings = parseJobSettings(job, env);
    if (count > 1) {
      const log = await createLog("supervisor", { env });
      const program = fileURLToPath(import.meta.url);
      return forkWorkers({ count, program, args: positionals, settings, log, signal });
    }
    const log = await createLog("worker", { env });
    await using observer = await startObserver({
      host: settings.HTTP_HOST,
      port: settings.HTTP_PORT,
      group: settings.KAFKA_GROUP_ID,
      takesMessages: settings.TAKE_MESSAGES === "yes",
      version: manifest.version,
      log,
    });
    using _events = keepEvents(settings.EVENTS_FILE, log);
    using _reports = process.connected
      ? reportLeases((report) => void process.send?.(report, undefined, undefined, () => {}))
      : undefined;
    const graceMs = (setting: number) => (isOrphan() ? Math.min(ORPHAN_GRACE_MS, setting) : setting);
    await using worker = await startWorker({ job, env, log, signal, graceMs });
    observer.observe(worker);
    await Promise.race([aborted(signal), worker.failed]);
  },
  {
    help: `npm start [-- <job>] [--workers <number>]

Starts a worker, or so many in processes of their own, which are kept running. Jobs: ${listJobs().join(", ")} (the first one named 'deletion' by default), or the path of a job.ts.
Settings come from the environment and from .env: 'npm run settings' prints them all.`,
    needsReader: false,
  },
);
