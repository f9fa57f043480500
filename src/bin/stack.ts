import { runMain } from "../main.ts";
import { aborted } from "../signals.ts";
import { startStack } from "../stack/stack.ts";

await runMain(async (signal) => {
  await using stack = await startStack({ kafkaPort: 9092, resonatePort: 8001 });
  console.log(
    `Kafka broker at ${stack.kafkaBrokers}, Resonate server at ${stack.resonateUrl}, both in memory. Ctrl-C ends them.`,
  );
  await aborted(signal);
});
