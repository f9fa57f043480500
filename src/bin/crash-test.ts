import { parseArgs } from "node:util";
import { crashEverywhere } from "../crash-test/crash-everywhere.ts";
import { FAULTS_EXPECTED, parseFaults } from "../crash-test/faults.ts";
import { describeReport, describeRun } from "../crash-test/report.ts";
import { runScenario } from "../crash-test/run.ts";
import { listJobs, loadJob, loadScenario } from "../jobs/load-job.ts";
import { runCommand } from "../support/run-command.ts";
import { parseCount, SettingsError } from "../support/settings.ts";

const HELP = `npm run crash-test [-- <job> …] [-- --seed <n>]
npm run crash-test -- <job> --at <points>

Kills a job's workers at every point there is, in memory, and at pairs of points: at most 5000, or a sample of as many.
Without a job's name, all jobs. With --at, one run, and what it did: ${FAULTS_EXPECTED}.`;

const parsePoints = (text: string) => {
  const faults = text === "" ? [] : parseFaults(text);
  if (faults) return faults;
  throw new SettingsError([`--at: expected ${FAULTS_EXPECTED}, got ${JSON.stringify(text)}`]);
};

await runCommand(
  async (signal) => {
    const options = { at: { type: "string" }, seed: { type: "string", default: "1" } } as const;
    const { values, positionals } = parseArgs({ options, allowPositionals: true });
    const seed = parseCount("--seed", values.seed, { max: 999_999_999 });
    let failed = false;
    if (values.at !== undefined) {
      const job = await loadJob(positionals);
      const run = await runScenario(job, await loadScenario(job.name), parsePoints(values.at));
      console.log(describeRun(run));
      failed = run.findings.length > 0 || !run.struck;
    } else {
      const names = positionals.length > 0 ? positionals : listJobs();
      // All of them first: a name that is wrong is told before anything runs.
      const loaded = await Promise.all(
        names.map(async (name) => ({ job: await loadJob([name]), scenario: await loadScenario(name) })),
      );
      for (const { job, scenario } of loaded) {
        const report = await crashEverywhere(job, scenario, { seed, signal });
        console.log(describeReport(job.name, report));
        failed ||= report.failures.length > 0;
      }
    }
    if (failed) process.exitCode = 1;
  },
  { help: HELP },
);
