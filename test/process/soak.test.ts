import assert from "node:assert/strict";
import { test } from "node:test";
import { findExternalStack } from "../../src/demo/external-stack.ts";
import { runSoak } from "../../src/demo/soak.ts";

test("a short soak: 120 records, three workers, six of them killed, stopped, frozen or cut off, connections cut", async (t) => {
  const lines: string[] = [];
  const holds = await runSoak({
    records: 120,
    workers: 3,
    kills: 6,
    seed: 7,
    external: findExternalStack(process.env),
    print: (line) => lines.push(line),
    signal: t.signal,
  });
  const report = lines.slice(-12).join("\n");
  t.diagnostic(report);
  assert.ok(holds, report);
  const faults = report.slice(report.indexOf("faults: "));
  const count = (what: string) => Number(new RegExp(`(\\d+) ${what}`).exec(faults)?.[1]);
  const kinds = ["SIGKILL", "SIGTERM", "SIGSTOP", "silent hosts"].map(count);
  assert.equal(
    kinds.reduce((sum, n) => sum + n, 0),
    6,
    "every fault fell",
  );
  assert.ok(count("SIGKILL") > 0 && count("cuts") > 0);
});
