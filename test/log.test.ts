import assert from "node:assert/strict";
import { PassThrough } from "node:stream";
import { text } from "node:stream/consumers";
import { test } from "node:test";
import { createLog } from "../src/log.ts";

test("each call is one line: time, name and message, without colours where there is no terminal", async () => {
  const stream = new PassThrough();
  const log = createLog("worker 1", stream);
  log.info("began");
  log.warn("slow");
  log.error("failed");
  stream.end();
  const lines = (await text(stream)).split("\n");
  assert.equal(lines.pop(), "");
  assert.equal(lines.length, 3);
  for (const [index, message] of ["began", "slow", "failed"].entries()) {
    assert.match(lines[index] ?? "", new RegExp(`^\\d\\d:\\d\\d:\\d\\d\\.\\d{3} \\[worker 1\\] ${message}$`));
  }
});
