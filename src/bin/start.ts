import { parseArgs } from "node:util";
import { loadJob } from "../jobs/load-job.ts";
import { createLog } from "../support/log.ts";
import { runCommand } from "../support/run-command.ts";
import { readEnv } from "../support/settings.ts";
import { aborted } from "../support/signals.ts";
import { startWorker } from "../worker/worker.ts";

await runCommand(async (signal) => {
  const { positionals } = parseArgs({ allowPositionals: true });
  const job = await loadJob(positionals);
  const log = createLog(`worker ${process.pid}`);
  await using worker = await startWorker({ job, env: readEnv(process.env), log, signal });
  await Promise.race([aborted(signal), worker.failed]);
});
