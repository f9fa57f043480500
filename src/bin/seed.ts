import { parseArgs } from "node:util";
import { ConfigError, parseConfig, readEnv } from "../config.ts";
import { createKafka } from "../kafka.ts";
import { createLog } from "../log.ts";
import { runMain } from "../main.ts";
import { seed } from "../seed.ts";

await runMain(async () => {
  const { values } = parseArgs({ options: { number: { type: "string", short: "n", default: "25" } } });
  const count = Number(values.number);
  if (!Number.isInteger(count) || count < 1 || count > 1_000_000) {
    throw new ConfigError([
      `-n: expected a whole number of records from 1 to 1000000, got ${JSON.stringify(values.number)}`,
    ]);
  }
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
