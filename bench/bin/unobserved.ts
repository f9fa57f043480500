import { Channel } from "node:diagnostics_channel";
import { job } from "../../src/jobs/deletion/job.ts";
import { silentLog } from "../../src/support/log.ts";
import { runCommand } from "../../src/support/run-command.ts";
import { aborted } from "../../src/support/signals.ts";
import { startWorker } from "../../src/worker/worker.ts";

// Nobody hears what the worker tells of, not even its own log.
Channel.prototype.subscribe = () => {};

await runCommand(
  async (signal) => {
    await using worker = await startWorker({ job, env: process.env, log: silentLog, signal });
    console.log(`worker ${worker.name} is ready`);
    await Promise.race([aborted(signal), worker.failed]);
  },
  { help: "Starts a worker without log and metrics, for the benchmark to compare with." },
);
