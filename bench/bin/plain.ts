import { createLog } from "../../src/support/log.ts";
import { runCommand } from "../../src/support/run-command.ts";
import { aborted } from "../../src/support/signals.ts";
import { parseConfig } from "../../src/worker/settings.ts";
import { startPlain } from "../plain.ts";

await runCommand(async (signal) => {
  await startPlain(parseConfig(process.env), createLog(`plain ${process.pid}`));
  await aborted(signal);
});
