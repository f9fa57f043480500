import assert from "node:assert/strict";
import { test } from "node:test";
import type { PromiseRecord, Request, Send } from "@resonatehq/sdk";
import { createTakeovers, LEASE_TAG } from "../../src/worker/takeovers.ts";
import { settle } from "../helpers/unit-time.ts";

/** A step that was begun under the first of four leases, and cut three times since. */
const recorded: PromiseRecord = {
  id: "x:0",
  state: "pending",
  param: { headers: {}, data: "" },
  value: { headers: {}, data: "" },
  tags: { [LEASE_TAG]: "1" },
  timeoutAt: 1,
  createdAt: 1,
};
const history = { leaseOf: () => 4, find: () => recorded, handBacksSince: () => 0, idsOf: () => [] };
const step = { executionId: "x", promiseId: "x:0", key: "job/x/step/0", maxBegun: 9 };

test("a suspect whose lease another worker has by now does not run, and keeps no lease and no other suspect waiting", async () => {
  const asked: Request[] = [];
  const send = async (request: Request) => {
    asked.push(request);
    const { kind, head } = request;
    return { kind, head: { ...head, status: 409 }, data: "the lease is another's" };
  };
  const takeovers = createTakeovers({ send: send as unknown as Send, history });
  let runs = 0;
  let ended = 0;
  const end = () => {
    ended += 1;
  };
  for (let i = 0; i < 2; i++) {
    const work = async () => {
      runs += 1;
    };
    void takeovers.run(step, work).then(end, end);
  }
  await settle();
  assert.deepEqual([runs, ended], [0, 0]);
  const kinds = asked.map(({ kind }) => kind);
  assert.deepEqual(kinds.toSorted(), ["task.fence", "task.fence", "task.release", "task.release"]);
  const released = asked.find((request) => request.kind === "task.release");
  assert.deepEqual(released?.data, { id: "x", version: 4 });
});
