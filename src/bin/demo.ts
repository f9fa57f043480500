import { parseArgs } from "node:util";
import { runDemo } from "../demo/demo.ts";
import { parseCount } from "../support/parse-count.ts";
import { runMain } from "../support/run-command.ts";

await runMain(async (signal) => {
  const { values } = parseArgs({ options: { number: { type: "string", short: "n", default: "25" } } });
  const count = parseCount("-n", values.number, { max: 500 });
  if (!(await runDemo({ count, print: console.log, signal }))) process.exitCode = 1;
});
