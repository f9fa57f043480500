import { parseArgs } from "node:util";
import { runDemo } from "../demo/demo.ts";
import { runCommand } from "../support/run-command.ts";
import { parseCount } from "../support/settings.ts";

const HELP = `npm run demo [-- -n <records>]

The recovery demo: two workers, 25 records, one kill -9, and a verdict.`;

await runCommand(
  async (signal) => {
    const { values } = parseArgs({ options: { number: { type: "string", short: "n", default: "25" } } });
    const count = parseCount("-n", values.number, { max: 500 });
    if (!(await runDemo({ count, print: console.log, signal }))) process.exitCode = 1;
  },
  { help: HELP },
);
