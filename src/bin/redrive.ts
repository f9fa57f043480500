import { parseArgs } from "node:util";
import { createKafka, ensureTopics } from "../kafka/client.ts";
import { createLog } from "../support/log.ts";
import { runMain } from "../support/run-command.ts";
import { redrive } from "../worker/redrive.ts";
import { parseConfig, readEnv } from "../worker/settings.ts";

await runMain(async (signal) => {
  const { values } = parseArgs({ options: { reason: { type: "string" } } });
  const config = parseConfig(readEnv(process.env));
  const kafka = createKafka(config, { clientId: "redrive", log: createLog("redrive") });
  await ensureTopics(kafka, config);
  const onDriven = (reason: string, total: number) => {
    if (total % 100 === 0) console.log(`${total} of reason ${reason} are back`);
  };
  const driven = await redrive({ config, kafka, reason: values.reason, onDriven, signal });
  for (const [reason, total] of driven) console.log(`${reason}: ${total}`);
  const sum = [...driven.values()].reduce((total, n) => total + n, 0);
  console.log(`${sum} messages went from ${config.TOPIC_DEAD_LETTER} back to ${config.TOPIC_TO_DELETE}`);
});
