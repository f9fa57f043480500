import { parseConfig, readEnv } from "../config.ts";
import { createLog } from "../log.ts";
import { runMain } from "../main.ts";
import { aborted } from "../signals.ts";
import { startWorker } from "../worker.ts";

await runMain(async (signal) => {
  const config = parseConfig(readEnv(process.env));
  await using worker = await startWorker({ config, log: createLog(`worker ${process.pid}`), signal });
  await Promise.race([aborted(signal), worker.failed]);
});
