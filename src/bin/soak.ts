import { parseArgs } from "node:util";
import { findExternalStack } from "../demo/external-stack.ts";
import { runSoak } from "../demo/soak.ts";
import { runCommand } from "../support/run-command.ts";
import { parseCount } from "../support/settings.ts";

const HELP = `npm run soak [-- --records <n> --workers <n> --kills <n> --seed <n>]

Records arrive while workers are killed, stopped and frozen. KAFKA_BROKERS and RESONATE_URL name a real stack,
RECORDS_DB an empty row store, which may be a postgres:// URL.`;

await runCommand(
  async (signal) => {
    const { values } = parseArgs({
      options: {
        records: { type: "string", default: "2000" },
        workers: { type: "string", default: "3" },
        kills: { type: "string", default: "20" },
        seed: { type: "string", default: String(Date.now() % 100_000) },
      },
    });
    const holds = await runSoak({
      records: parseCount("--records", values.records, { max: 1_000_000 }),
      workers: parseCount("--workers", values.workers, { max: 16 }),
      kills: parseCount("--kills", values.kills, { max: 10_000 }),
      seed: parseCount("--seed", values.seed, { max: 999_999_999 }),
      external: findExternalStack(process.env),
      recordsDb: process.env.RECORDS_DB,
      print: console.log,
      signal,
    });
    if (!holds) process.exitCode = 1;
  },
  { help: HELP },
);
