import { parseArgs } from "node:util";
import { startStack } from "../stack/stack.ts";
import { MAX_PORT } from "../support/addresses.ts";
import { runCommand } from "../support/run-command.ts";
import { parseCount } from "../support/settings.ts";
import { aborted } from "../support/signals.ts";

const HELP = `npm run stack [-- --kafka-port <port> --resonate-port <port>]

Runs a Kafka broker (9092) and a Resonate server (8001) in memory, on loopback.`;

await runCommand(
  async (signal) => {
    const { values } = parseArgs({
      options: {
        "kafka-port": { type: "string", default: "9092" },
        "resonate-port": { type: "string", default: "8001" },
      },
    });
    await using stack = await startStack({
      kafkaPort: parseCount("--kafka-port", values["kafka-port"], { max: MAX_PORT }),
      resonatePort: parseCount("--resonate-port", values["resonate-port"], { max: MAX_PORT }),
    });
    console.log(
      `Kafka broker at ${stack.kafkaBrokers}, Resonate server at ${stack.resonateUrl}, both in memory. Ctrl-C ends them.`,
    );
    await aborted(signal);
  },
  { help: HELP },
);
