import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { PassThrough, Writable } from "node:stream";
import { text } from "node:stream/consumers";
import { test } from "node:test";
import { setImmediate } from "node:timers/promises";
import { createLog } from "../../src/support/log.ts";

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

test("the lines of one turn are one write", async () => {
  const writes: string[][] = [];
  const stream = new Writable({
    writev: (chunks, done) => {
      writes.push(chunks.map(({ chunk }) => String(chunk)));
      done();
    },
  });
  const log = createLog("worker 1", stream);
  for (let i = 0; i < 3; i++) log.info("one turn");
  assert.equal(writes.length, 0);
  await setImmediate();
  log.info("another");
  await setImmediate();
  assert.deepEqual(
    writes.map((lines) => lines.length),
    [3, 1],
  );
});

test("no line is lost when the process ends in the turn that wrote it", () => {
  const module = JSON.stringify(import.meta.resolve("../../src/support/log.ts"));
  const begin = `import { createLog } from ${module}; createLog("x").error("the last words");`;
  for (const end of ["process.exit(3)", "throw new Error('broken')"]) {
    const { stdout, status } = spawnSync(process.execPath, [
      "--input-type=module",
      "--eval",
      `${begin} ${end}`,
    ]);
    assert.match(String(stdout), /the last words\n$/);
    assert.notEqual(status, 0);
  }
});
