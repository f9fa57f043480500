import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { runCommand } from "../src/support/run-command.ts";
import { describeMachine } from "./machine.ts";
import { writeReport } from "./report.ts";
import { chooseMeasurements, runSuite } from "./suite.ts";

const HELP = `npm run bench [-- --quick] [-- --only <measurement>,…]

Measures this worker and writes a report: the whole into bench/, anything less into data/bench/.`;

await runCommand(
  async (signal) => {
    const { values } = parseArgs({
      options: { only: { type: "string" }, quick: { type: "boolean", default: false } },
    });
    const { only, quick } = values;
    const date = new Date();
    const machine = describeMachine();
    const results = await runSuite(chooseMeasurements(only), { quick, print: console.log, signal });
    const report = {
      date,
      seconds: (Date.now() - date.getTime()) / 1000,
      quick,
      machine,
      results,
    };

    // What is not the whole is not kept: data/ is not under version control.
    const whole = only === undefined && !quick;
    const folder = whole ? import.meta.dirname : "data/bench";
    const resultsFolder = join(folder, "results");
    mkdirSync(resultsFolder, { recursive: true });
    const resultsFile = join(resultsFolder, `${date.toISOString().slice(0, 19).replaceAll(":", "-")}.json`);
    writeReport(report, { folder: join(folder, "report"), resultsFile });
    console.log(`${join(folder, "report", "report.md")} and ${resultsFile} are written`);
    if (results.some(({ outcome }) => outcome.findings.some(({ holds }) => !holds))) process.exitCode = 1;
  },
  { help: HELP },
);
