import { parseConfig } from "../../src/config.ts";
import { createLog } from "../../src/log.ts";
import { runMain } from "../../src/main.ts";
import { aborted } from "../../src/signals.ts";
import { startPlain } from "../plain.ts";

await runMain(async (signal) => {
  await startPlain(parseConfig(process.env), createLog(`plain ${process.pid}`));
  await aborted(signal);
});
