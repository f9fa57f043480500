import { createLog } from "../support/log.ts";
import { runMain } from "../support/run-command.ts";
import { aborted } from "../support/signals.ts";
import { parseConfig, readEnv } from "../worker/settings.ts";
import { startWorker } from "../worker/worker.ts";

await runMain(async (signal) => {
  const config = parseConfig(readEnv(process.env));
  await using worker = await startWorker({ config, log: createLog(`worker ${process.pid}`), signal });
  await Promise.race([aborted(signal), worker.failed]);
});
