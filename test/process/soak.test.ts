import assert from "node:assert/strict";
import { test } from "node:test";
import { runSoak } from "../../src/demo/soak.ts";

test("a short soak: 120 records, three workers, six of them killed, stopped or frozen, connections cut", async (t) => {
  const lines: string[] = [];
  const { KAFKA_BROKERS, RESONATE_URL } = process.env;
  const holds = await runSoak({
    records: 120,
    workers: 3,
    kills: 6,
    seed: 7,
    external:
      KAFKA_BROKERS && RESONATE_URL ? { kafkaBrokers: KAFKA_BROKERS, resonateUrl: RESONATE_URL } : undefined,
    print: (line) => lines.push(line),
    signal: t.signal,
  });
  const report = lines.slice(-12).join("\n");
  t.diagnostic(report);
  assert.ok(holds, report);
  const [, kill, term, stop, cuts] =
    /faults: (\d+) SIGKILL, (\d+) SIGTERM, (\d+) SIGSTOP, (\d+) cuts/.exec(report)?.map(Number) ?? [];
  assert.equal((kill ?? 0) + (term ?? 0) + (stop ?? 0), 6, "every fault fell");
  assert.ok((kill ?? 0) > 0 && (cuts ?? 0) > 0);
});
