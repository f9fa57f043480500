import { parseArgs } from "node:util";
import { runDemo } from "../demo/demo.ts";
import { runCommand } from "../support/run-command.ts";
import { parseCount } from "../support/settings.ts";

await runCommand(async (signal) => {
  const { values } = parseArgs({ options: { number: { type: "string", short: "n", default: "25" } } });
  const count = parseCount("-n", values.number, { max: 500 });
  if (!(await runDemo({ count, print: console.log, signal }))) process.exitCode = 1;
});
