import assert from "node:assert/strict";
import { test } from "node:test";
import { type Request, ResonateTimeoutException } from "@resonatehq/sdk";
import { requestHead } from "../../../src/resonate/request.ts";
import type { Query } from "../../../src/resonate/transports/database.ts";
import { createPostgresSend } from "../../../src/resonate/transports/postgres-send.ts";
import { silent } from "../../helpers/unit-resonate.ts";

const acquire = (id: string): Extract<Request, { kind: "task.acquire" }> => ({
  kind: "task.acquire",
  head: requestHead(),
  data: { id, version: 1, pid: "worker", ttl: 1000 },
});

/** Grants each lease, and cannot say then what the executions have done so far. */
const grantsOnly = () => {
  const statements: string[] = [];
  const query = async ({ name }: { name: string }, [requests]: readonly unknown[] = []) => {
    statements.push(name);
    if (statements.length > 1) {
      const told = "canceling statement due to statement timeout";
      throw Object.assign(new Error(told), { severity: "ERROR", code: "57014" });
    }
    const asked: Request[] = JSON.parse(String(requests));
    return asked.map(({ kind, head, data }, index) => {
      const id = "id" in data ? data.id : "";
      const task = { id, state: "acquired", version: 2, resumes: [] };
      const nothing = { headers: {}, data: "" };
      const promise = {
        id,
        state: "pending",
        param: nothing,
        value: nothing,
        tags: {},
        timeoutAt: 2,
        createdAt: 1,
      };
      return {
        at: index + 1,
        answer: { kind, head: { ...head, status: 200 }, data: { task, promise, preload: [] } },
      };
    });
  };
  return { statements, query: query as unknown as Query };
};

test("requests that took effect are not run again where what has been done so far cannot be read", async () => {
  const { statements, query } = grantsOnly();
  const send = createPostgresSend({ query, logger: silent });
  const sent = await Promise.allSettled([send(acquire("a")), send(acquire("b"))]);
  for (const one of sent) {
    assert.ok(one.status === "rejected" && one.reason instanceof ResonateTimeoutException);
    assert.match(one.reason.message, /could not be read.*statement timeout/);
  }
  assert.equal(statements.length, 2, "one statement of requests, and one of what was done");
});
