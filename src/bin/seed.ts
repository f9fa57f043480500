import { parseArgs } from "node:util";
import { seed } from "../jobs/deletion/seed.ts";
import { createKafka } from "../kafka/client.ts";
import { createLog } from "../support/log.ts";
import { parseCount } from "../support/parse-count.ts";
import { runMain } from "../support/run-command.ts";
import { parseConfig, readEnv } from "../worker/settings.ts";

await runMain(async () => {
  const { values } = parseArgs({ options: { number: { type: "string", short: "n", default: "25" } } });
  const count = parseCount("-n", values.number, { max: 1_000_000 });
  const config = parseConfig(readEnv(process.env));
  const kafka = createKafka(config, { clientId: "seed", log: createLog("seed") });
  let [records, rows, batches] = [0, 0, 0];
  for await (const record of seed({ config, kafka, count, random: Math.random })) {
    records += 1;
    rows += record.rows;
    batches += Math.ceil(record.rows / config.BATCH_SIZE);
    console.log(
      `record ${record.recordId}: partition ${record.partition}, offset ${record.offset}, ${record.rows} rows`,
    );
  }
  console.log(`${records} records with ${rows} rows in ${batches} batches are in ${config.TOPIC_TO_DELETE}`);
});
