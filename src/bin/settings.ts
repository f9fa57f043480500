import { parseArgs } from "node:util";
import { DEFAULT_JOB, listJobs, loadJob } from "../jobs/load-job.ts";
import { runCommand } from "../support/run-command.ts";
import { describeJobs } from "../worker/env-example.ts";

const HELP = `npm run settings [-- <job> …]

Prints every setting with its default, as it may stand in .env: those of all jobs, or of the jobs that are named.`;

await runCommand(
  async () => {
    const { positionals } = parseArgs({ allowPositionals: true });
    const names = positionals.length > 0 ? positionals : listJobs();
    const jobs = await Promise.all(names.map((name) => loadJob([name])));
    const started = jobs.map((job, index) => ({
      ...job,
      command: job.name === DEFAULT_JOB ? "npm start" : `npm start -- ${names[index]}`,
    }));
    console.log(describeJobs(started));
  },
  { help: HELP },
);
