import { parseArgs } from "node:util";
import { crashEverywhere } from "../crash-test/crash-everywhere.ts";
import { FAULTS_EXPECTED, parseFaults } from "../crash-test/faults.ts";
import { describeReport, describeRun } from "../crash-test/report.ts";
import { runScenario } from "../crash-test/run.ts";
import { listJobs, loadJob, loadScenario } from "../jobs/load-job.ts";
import { runCommand } from "../support/run-command.ts";
import { parseCount, SettingsError } from "../support/settings.ts";

await runCommand(async () => {
  const options = {
    at: { type: "string" },
    seed: { type: "string", default: "1" },
    pairs: { type: "string", default: "5000" },
  } as const;
  const { values, positionals } = parseArgs({ options, allowPositionals: true });
  const seed = parseCount("--seed", values.seed, { max: 999_999_999 });
  if (values.at !== undefined) {
    const faults = values.at === "" ? [] : parseFaults(values.at);
    if (!faults)
      throw new SettingsError([`--at: expected ${FAULTS_EXPECTED}, got ${JSON.stringify(values.at)}`]);
    const job = await loadJob(positionals);
    const run = await runScenario(job, await loadScenario(job.name), faults);
    console.log(describeRun(run));
    if (run.findings.length > 0 || !run.struck) process.exitCode = 1;
    return;
  }
  for (const name of positionals.length > 0 ? positionals : listJobs()) {
    const job = await loadJob([name]);
    const report = await crashEverywhere(job, await loadScenario(name), {
      seed,
      maxPairs: Number(values.pairs),
    });
    console.log(describeReport(name, report));
    if (report.failures.length > 0) process.exitCode = 1;
  }
});
