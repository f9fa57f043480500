import { createLog } from "../../src/support/log.ts";
import { runMain } from "../../src/support/run-command.ts";
import { aborted } from "../../src/support/signals.ts";
import { parseConfig } from "../../src/worker/settings.ts";
import { startPlain } from "../plain.ts";

await runMain(async (signal) => {
  await startPlain(parseConfig(process.env), createLog(`plain ${process.pid}`));
  await aborted(signal);
});
