import assert from "node:assert/strict";
import { test } from "node:test";
import { watch } from "../../src/operate/watch.ts";
import { AccessError } from "../../src/support/access-error.ts";
import { createMemoryLog } from "../helpers/unit-log.ts";

/** Watches, each look doing the next of `looks`, until they are all done; gives the lines of the log. */
const watchAll = async (looks: readonly (() => Promise<void>)[]): Promise<readonly string[]> => {
  const stop = new AbortController();
  const left = [...looks];
  const log = createMemoryLog();
  const look = async () => {
    const next = left.shift();
    if (next === undefined) stop.abort(new Error("stopped"));
    else await next();
  };
  await assert.rejects(watch(look, { intervalMs: 1, log, signal: stop.signal }), /^Error: stopped$/);
  return log.lines;
};

const well = async () => {};
const away = async () => {
  throw new Error("away");
};

test("each outage is one line, and its end another", async () => {
  assert.deepEqual(await watchAll([well, away, away, well, well, away, well]), [
    "warn cannot look, trying on: away",
    "info can look again, after 0 s",
    "warn cannot look, trying on: away",
    "info can look again, after 0 s",
  ]);
});

test("what no retry can help ends the watch", async () => {
  const log = createMemoryLog();
  const { signal } = new AbortController();
  for (const error of [
    new AccessError("refused"),
    Object.assign(new Error("a setting"), { canRetry: false }),
  ]) {
    const look = async () => {
      throw error;
    };
    await assert.rejects(watch(look, { intervalMs: 1, log, signal }), error);
  }
  assert.deepEqual(log.lines, []);
});

test("a stop does not wait for a look", async () => {
  const stop = new AbortController();
  const reason = new Error("stopped");
  const watching = watch(() => Promise.withResolvers<void>().promise, {
    intervalMs: 1,
    log: createMemoryLog(),
    signal: stop.signal,
  });
  stop.abort(reason);
  await assert.rejects(watching, reason);
});
