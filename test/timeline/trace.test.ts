import assert from "node:assert/strict";
import { test } from "node:test";
import { createTimeline } from "../../src/timeline/timeline.ts";
import { toTrace } from "../../src/timeline/trace.ts";
import { takeoverEvents } from "./event-lines.ts";

test("a trace has a thread a record, a slice a span, the kill and the takeover as marks", () => {
  const timeline = createTimeline();
  for (const line of takeoverEvents()) timeline.add(line);
  const { traceEvents } = JSON.parse(toTrace(timeline));
  const ofPhase = (phase: string) => traceEvents.filter(({ ph }: { ph: string }) => ph === phase);
  assert.deepEqual(
    ofPhase("M").map(({ args }: { args: { name: string } }) => args.name),
    ["records", "a", "b"],
  );
  const [, , run] = ofPhase("X");
  assert.deepEqual(run, {
    ph: "X",
    name: "deleteBatch 0 (worker A)",
    cat: "running",
    pid: 1,
    tid: 1,
    ts: 110_000,
    dur: 40_000,
    args: { worker: "1-aa", key: "deletion/a/deleteBatch/0", attempt: 1, end: "done" },
  });
  // The span that lasts ends where the trace does.
  for (const { dur } of ofPhase("X")) assert.ok(dur >= 0 && dur <= 571_000);
  assert.deepEqual(
    ofPhase("i").map(({ name, ts }: { name: string; ts: number }) => [name, ts]),
    [
      ["SIGKILL worker A", 300_000],
      ["worker B took over from worker A", 600_000],
    ],
  );
});
