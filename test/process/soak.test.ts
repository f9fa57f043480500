import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { findExternalStack } from "../../src/demo/external-stack.ts";
import { runSoak } from "../../src/demo/soak.ts";
import { readEvents } from "../../src/timeline/read-events.ts";

const { KAFKA_BROKERS = "", RESONATE_URL = "" } = process.env;

test("a short soak: 120 records, three workers, six of them killed, stopped, frozen or cut off, connections cut", {
  skip: RESONATE_URL !== "" && KAFKA_BROKERS === "" && "needs KAFKA_BROKERS beside RESONATE_URL",
}, async (t) => {
  const lines: string[] = [];
  const folder = await mkdtemp(join(tmpdir(), "soak-test-"));
  t.after(() => rm(folder, { recursive: true, force: true }));
  const eventsFile = join(folder, "events");
  const holds = await runSoak({
    records: 120,
    workers: 3,
    kills: 6,
    seed: 7,
    external: findExternalStack(process.env),
    eventsFile,
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
  const { lanes, strikes } = await readEvents([eventsFile]);
  assert.equal(lanes.size, 120, "every record is in the timeline");
  assert.equal(strikes.filter(({ kind }) => kind !== "lost").length, 6, "and every fault of a worker");
});
