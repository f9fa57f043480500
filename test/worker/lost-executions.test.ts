import assert from "node:assert/strict";
import { test } from "node:test";
import { LocalNetwork } from "@resonatehq/sdk";
import { requestHead } from "../../src/resonate/request.ts";
import type { Begin, Begun } from "../../src/worker/begin.ts";
import { createInFlight } from "../../src/worker/in-flight.ts";
import { tryBeginLostAgain } from "../../src/worker/lost-executions.ts";
import { createMemoryLog } from "../helpers/unit-log.ts";

const begunAs = (outcome: Begun["outcome"]): Begun => ({ outcome, ended: () => new Promise(() => {}) });

/** A worker with executions in flight, at a server that knows some of them. */
const build = async ({ flying, known }: { flying: readonly string[]; known: readonly string[] }) => {
  const server = new LocalNetwork();
  const inFlight = createInFlight(100);
  const log = createMemoryLog();
  const again: string[] = [];
  for (const id of known) {
    const data = { id, timeoutAt: Number.MAX_SAFE_INTEGER, param: {}, tags: {} };
    await server.send({ kind: "promise.create", head: requestHead(), data });
  }
  for (const id of flying) {
    await inFlight.enter(id, new AbortController().signal);
    inFlight.watch(id, `text of ${id}`, begunAs("started"));
  }
  const begin: Begin = async (id, text) => {
    again.push(`${id}: ${text}`);
    return begunAs("started");
  };
  return { send: server.send, address: "poll://uni@workers/1", inFlight, log, begin, again };
};

test("what the server does not know any more is begun again as it was, and told once", async () => {
  const flying = Array.from({ length: 30 }, (_, i) => `m-${i}`);
  const { again, log, ...worker } = await build({ flying, known: flying.slice(0, 20) });
  await tryBeginLostAgain({ ...worker, log });
  assert.deepEqual(
    again.toSorted(),
    flying
      .slice(20)
      .map((id) => `${id}: text of ${id}`)
      .toSorted(),
  );
  assert.equal(log.lines.length, 1);
  assert.match(log.lines[0] ?? "", /has lost its state: 10 executions/);
  assert.equal(worker.inFlight.size, 30);
});

test("where the server knows all of them nothing is begun, and nothing told", async () => {
  const { again, log, ...worker } = await build({ flying: ["a", "b"], known: ["a", "b"] });
  await tryBeginLostAgain({ ...worker, log });
  assert.deepEqual([again, log.lines], [[], []]);
});

test("a server that goes away again meanwhile is told, and disturbs nobody", async () => {
  const { log, ...worker } = await build({ flying: ["a"], known: [] });
  const send: typeof worker.send = async () => {
    throw new Error("server gone");
  };
  await tryBeginLostAgain({ ...worker, send, log });
  assert.deepEqual(log.lines, ["warn cannot see whether executions were lost: server gone"]);
});
