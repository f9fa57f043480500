import assert from "node:assert/strict";
import { test } from "node:test";
import { createResonateLogger } from "../../src/resonate/log.ts";
import { createMemoryLog } from "../helpers/unit-log.ts";

test("warnings and errors are shown with their error, the rest is not", (t) => {
  t.mock.timers.enable({ apis: ["Date"], now: 1_000_000 });
  const log = createMemoryLog();
  const logger = createResonateLogger(log);
  logger.debug({}, "request sent");
  logger.info({}, "connected");
  logger.warn({ error: "ECONNREFUSED" }, "platform failure");
  logger.error({ error: { odd: true } }, "Server. Fence check failed");
  assert.deepEqual(log.lines, [
    "warn resonate: platform failure: ECONNREFUSED",
    "error resonate: Server. Fence check failed",
  ]);
});

test("the same line is shown at most every five seconds, another one at once", (t) => {
  t.mock.timers.enable({ apis: ["Date"], now: 1_000_000 });
  const log = createMemoryLog();
  const logger = createResonateLogger(log);
  for (let i = 0; i < 100; i++) logger.warn({ error: "ECONNREFUSED" }, "platform failure");
  logger.warn({ error: "ECONNRESET" }, "platform failure");
  assert.equal(log.lines.length, 2);
  t.mock.timers.tick(4999);
  logger.warn({ error: "ECONNREFUSED" }, "platform failure");
  assert.equal(log.lines.length, 2);
  t.mock.timers.tick(1);
  logger.warn({ error: "ECONNREFUSED" }, "platform failure");
  assert.equal(log.lines.length, 3);
});
