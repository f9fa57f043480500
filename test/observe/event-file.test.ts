import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { keepEvents } from "../../src/observe/event-file.ts";
import { silentLog } from "../../src/support/log.ts";
import { SettingsError } from "../../src/support/settings.ts";
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

test("without a path nothing is listened to; a path that cannot be written is told with its setting", () => {
  using _kept = keepEvents("", silentLog);
  assert.equal(isHeard("step.begun"), false);
  for (const [path, code] of [
    ["/nowhere/at/all", "ENOENT"],
    [tmpdir(), "EISDIR"],
  ] as const) {
    assert.throws(
      () => keepEvents(path, silentLog),
      (error) => {
        assert.ok(error instanceof SettingsError && error.cause instanceof Error);
        const expected = `EVENTS_FILE: expected a file that can be written, got "${path}" (${error.cause.message})`;
        assert.equal(error.message, expected);
        assert.match(error.message, new RegExp(code));
        return true;
      },
    );
  }
  assert.equal(isHeard("step.begun"), false);
});
