import assert from "node:assert/strict";
import { test } from "node:test";
import { isReport, type Report, reportLeases } from "../../src/worker/report.ts";
import { tell } from "../../src/worker/telemetry.ts";
import { settle } from "../helpers/unit-time.ts";

const of = (executionId: string) => ({ id: executionId, executionId });

test("changes of one turn are one report, the last of each execution", async () => {
  const reports: Report[] = [];
  using _ = reportLeases((report) => reports.push(report));
  tell("group.joined", { topic: "t", partitions: [0], memberId: "m" });
  tell("execution.started", of("a"));
  tell("execution.resumed", { ...of("b"), lease: 4 });
  tell("execution.started", of("c"));
  tell("execution.suspended", of("a"));
  assert.deepEqual(reports, []);
  await settle();
  const leases = [
    ["a", 0],
    ["b", 4],
    ["c", 1],
  ];
  assert.deepEqual(reports, [{ leases, memberId: "m" }]);
});

test("each end of a lease is reported", async () => {
  const reports: Report[] = [];
  using _ = reportLeases((report) => reports.push(report));
  tell("execution.ended", { ...of("a"), isWhole: true, outcome: "finished", ms: 1 });
  tell("execution.handed-back", of("b"));
  tell("lease.lost", of("c"));
  await settle();
  assert.deepEqual(reports, [
    {
      leases: [
        ["a", 0],
        ["b", 0],
        ["c", 0],
      ],
    },
  ]);
});

test("an execution with a cut step is reported at once: that step runs next, and may kill the process", async () => {
  const reports: Report[] = [];
  using _ = reportLeases((report) => reports.push(report));
  tell("execution.resumed", { ...of("a"), lease: 2 });
  tell("execution.taken-over", { ...of("a"), from: "w", step: "s", key: "k" });
  assert.deepEqual(reports, [{ leases: [["a", 2]] }]);
  await settle();
  assert.equal(reports.length, 1);
});

test("a worker that is ready says so, though it has nothing else to report", () => {
  const reports: Report[] = [];
  using _ = reportLeases((report) => reports.push(report));
  tell("worker.ready", { worker: "w" });
  assert.deepEqual(reports, [{ leases: [] }]);
});

test("only a report is taken for one", () => {
  assert.deepEqual([{ leases: [] }, "stop", null, {}, { leases: 1 }].map(isReport), [
    true,
    false,
    false,
    false,
    false,
  ]);
});
