import { once } from "node:events";
import { startStack } from "../../src/stack/stack.ts";

const delayMs = Number(process.argv[2] ?? 0);
await using stack = await startStack(
  { kafkaPort: 0, resonatePort: 0 },
  // The server holds an answer back before and after it has found it.
  delayMs > 0 ? { delayMs: () => delayMs / 2 } : {},
);
console.log(JSON.stringify({ kafkaBrokers: stack.kafkaBrokers, resonateUrl: stack.resonateUrl }));
// Ends with whoever started it.
await once(process.stdin.resume(), "close");
