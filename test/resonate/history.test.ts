import assert from "node:assert/strict";
import { test } from "node:test";
import type { PromiseRecord, Request, Response } from "@resonatehq/sdk";
import { createHistory } from "../../src/resonate/history.ts";
import { requestHead } from "../../src/resonate/request.ts";

const ID = "record";
const step: PromiseRecord = {
  id: `${ID}:0`,
  state: "pending",
  param: { headers: {}, data: "" },
  value: { headers: {}, data: "" },
  tags: { "resonate:branch": ID },
  timeoutAt: 2,
  createdAt: 1,
};

const lease = (version: number): [Request, Response] => {
  const head = requestHead();
  const data = { id: ID, version, pid: "worker", ttl: 1000 };
  const promise = { ...step, id: ID };
  return [
    { kind: "task.acquire", head, data },
    {
      kind: "task.acquire",
      head: { ...head, status: 200 },
      data: { task: { id: ID, version, state: "acquired", resumes: 0 }, promise, preload: [step] },
    },
  ];
};

const release = (version: number, status: 200 | 409): [Request, Response] => {
  const head = requestHead();
  const request: Request = { kind: "task.release", head, data: { id: ID, version } };
  return status === 200
    ? [request, { kind: "task.release", head: { ...head, status }, data: {} }]
    : [request, { kind: "task.release", head: { ...head, status }, data: "leased anew" }];
};

test("an execution that is given up is forgotten", () => {
  const history = createHistory();
  history.onAnswer(...lease(2));
  assert.equal(history.leaseOf(ID), 2);
  history.onAnswer(...release(2, 200));
  assert.equal(history.find(ID, step.id), undefined);
});

test("what is given up late, under an earlier lease, takes nothing from the later one", () => {
  const history = createHistory();
  history.onAnswer(...lease(2));
  history.onAnswer(...lease(4));
  history.onAnswer(...release(2, 409));
  const [unanswered] = release(2, 409);
  history.onSilence(unanswered);
  assert.equal(history.leaseOf(ID), 4);
  assert.deepEqual(history.find(ID, step.id), step);
});
