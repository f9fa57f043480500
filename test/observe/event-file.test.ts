import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { keepEvents } from "../../src/observe/event-file.ts";
import { silentLog } from "../../src/support/log.ts";
import { openEventTail } from "../../src/timeline/event-tail.ts";
import { isHeard, tell } from "../../src/worker/telemetry.ts";

test("events are in the file as they are told, until nobody keeps them", (t) => {
  const folder = mkdtempSync(join(tmpdir(), "events-"));
  t.after(() => rmSync(folder, { recursive: true }));
  const path = join(folder, "events");
  using tail = openEventTail(path);
  {
    using _kept = keepEvents(path, silentLog);
    tell("worker.ready", { worker: "1-aé" });
    const [ready] = tail.read();
    assert.deepEqual(
      [ready?.event, ready?.text("worker"), ready?.pid],
      ["worker.ready", "1-aé", process.pid],
    );
    assert.ok(Math.abs(Date.now() - (ready?.time ?? 0)) < 5000);
    tell("lease.lost", { id: "a", executionId: "a" });
    tell("request.ended", { kind: "x", status: 200, ms: 1 });
    assert.deepEqual(
      tail.read().map((line) => line.event),
      ["lease.lost"],
    );
  }
  tell("worker.ready", { worker: "2" });
  assert.equal(readFileSync(path, "utf8").split("\n").length, 3);
});

test("without a path nothing is listened to; a path that cannot be written is an error", () => {
  using _kept = keepEvents("", silentLog);
  assert.equal(isHeard("step.begun"), false);
  assert.throws(() => keepEvents("/nowhere/at/all", silentLog), { code: "ENOENT" });
  assert.equal(isHeard("step.begun"), false);
});
