import assert from "node:assert/strict";
import { test } from "node:test";
import { AccessError } from "../../src/support/access-error.ts";
import { untilReachable } from "../../src/worker/reach.ts";
import { createMemoryLog } from "../helpers/unit-log.ts";
import { mockTimers } from "../helpers/unit-time.ts";

const never = new AbortController().signal;

test("what cannot be reached is tried again, and each failure says where, why and what to do", async (t) => {
  const timers = mockTimers(t);
  const log = createMemoryLog();
  let tries = 0;
  const reached = untilReachable(
    { system: "Kafka broker", address: "host:1", log, signal: never },
    async () => {
      tries += 1;
      if (tries < 3) throw new Error("ECONNREFUSED");
    },
  );
  for (const delay of [1000, 2000]) await timers.advance(delay);
  await reached;
  assert.equal(tries, 3);
  assert.equal(log.lines.length, 3);
  assert.match(
    log.lines[0] ?? "",
    /^warn Kafka broker at host:1 cannot be reached: ECONNREFUSED\. .*Next try in 1 s\.$/,
  );
  assert.match(log.lines[1] ?? "", /Next try in 2 s\.$/);
  assert.match(log.lines[2] ?? "", /^info Kafka broker at host:1 is back again, after \d+ s$/);
});

test("an abort ends the wait with its reason, also amid a try", async () => {
  const reason = new Error("stopping");
  const stop = new AbortController();
  const options = { system: "server", address: "x", log: createMemoryLog(), signal: stop.signal };
  const rejected = assert.rejects(
    untilReachable(options, () => new Promise(() => {})),
    reason,
  );
  stop.abort(reason);
  await rejected;
});

test("a refusal ends the wait at once", async () => {
  const log = createMemoryLog();
  const refusal = new AccessError("KAFKA_SASL_PASSWORD: expected another one");
  const options = { system: "Kafka broker", address: "host:1", log, signal: never };
  await assert.rejects(
    untilReachable(options, () => Promise.reject(refusal)),
    refusal,
  );
  assert.deepEqual(log.lines, []);
});
