import assert from "node:assert/strict";
import { test } from "node:test";
import { isSuccess, type Request, type Send } from "@resonatehq/sdk";
import { failOnRefusal } from "../../src/resonate/refusals.ts";
import { requestHead } from "../../src/resonate/request.ts";

/** A step that an execution begins. */
const beginStep = (): Extract<Request, { kind: "task.fence" }> => {
  const own = { id: "record:0", timeoutAt: 1000, param: { headers: {}, data: "" }, tags: {} };
  const action = { kind: "promise.create" as const, head: requestHead(), data: own };
  return { kind: "task.fence", head: requestHead(), data: { id: "record", version: 1, action } };
};

/** A server that refuses as many requests as `times` says, and then answers. */
const refuse = (times: number) => {
  const asked: Request[] = [];
  const send = async (request: Request) => {
    asked.push(request);
    const { kind, head } = request;
    const isRefused = asked.length <= times;
    return isRefused
      ? { kind, head: { ...head, status: 400 }, data: "not today" }
      : { kind, head: { ...head, status: 404 }, data: "no such task" };
  };
  return { asked, send: send as unknown as Send };
};

test("a refusal that a fit server repeats fails the step", async () => {
  const { asked, send } = refuse(2);
  const answer = await failOnRefusal(send, async () => {})(beginStep());
  assert.ok(isSuccess(answer) && isSuccess(answer.data.action));
  assert.equal(answer.data.action.data.promise.state, "rejected");
  assert.equal(asked.length, 2);
});

test("a refusal that the server does not repeat, as it has become fit again, is forgotten", async () => {
  const { asked, send } = refuse(1);
  const answer = await failOnRefusal(send, async () => {})(beginStep());
  assert.equal(answer.head.status, 404);
  assert.equal(asked.length, 2);
});

test("a server that refuses everything fails no step", async () => {
  const { asked, send } = refuse(1);
  const unfit = new Error("unfit");
  await assert.rejects(
    failOnRefusal(send, async () => {
      throw unfit;
    })(beginStep()),
    unfit,
  );
  assert.equal(asked.length, 1);
});
