import { job } from "../../src/jobs/deletion/job.ts";
import { createLog } from "../../src/support/create-log.ts";
import { runCommand } from "../../src/support/run-command.ts";
import { aborted } from "../../src/support/signals.ts";
import { parseJobSettings } from "../../src/worker/settings.ts";
import { startPlain } from "../plain.ts";

await runCommand(
  async (signal) => {
    await startPlain(parseJobSettings(job, process.env), await createLog("plain", { env: process.env }));
    await aborted(signal);
  },
  { help: "Starts the yardstick of the benchmark: the straightforward worker." },
);
