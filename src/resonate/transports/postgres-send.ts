import { setTimeout } from "node:timers/promises";
import {
  isRedirect,
  isResponse,
  isSuccess,
  type Logger,
  type Request,
  type Response,
  type Send,
  type TaskHeartbeatReq,
} from "@resonatehq/sdk";
import { createBatches } from "../../support/batches.ts";
import { toError } from "../../support/errors.ts";
import { isAway, sqlState } from "../../support/postgres.ts";
import { checkedSend } from "../checked-send.ts";
import { RefusedError } from "../refusals.ts";
import type { Query } from "./database.ts";
import { search } from "./postgres-search.ts";

/** Requests in one statement. */
const MAX_REQUESTS = 32;
/** Leases that one statement renews. */
const MAX_LEASES = 100;
/** How long a request that fails is tried again, in milliseconds, and the pause before each try. */
const PATIENCE_MS = 10_000;
const RETRY_MS = 50;
/** Statements with requests at the same time: what comes meanwhile waits, and goes together. */
const MAX_STATEMENTS = 2;

/**
 * In the order of what they lock, as the schema's own functions sort it, so that two statements never wait for each
 * other. Each request is a transaction of its own as far as its failure goes: the function catches it. What is null
 * there is absent in the protocol.
 */
const RPC = {
  name: "rpc",
  text: `
SELECT at::integer, jsonb_strip_nulls(resonate.resonate_rpc(request)) AS answer FROM (
  SELECT at, request FROM jsonb_array_elements($1::jsonb) WITH ORDINALITY AS waiting (request, at)
  ORDER BY coalesce(request #>> '{data,id}', request #>> '{data,awaited}', request #>> '{data,action,data,id}')
  OFFSET 0
) AS sorted`,
};

/** What is on an execution's branch, which the schema leaves out of its answers. */
const BRANCHES = {
  name: "branches",
  text: `
SELECT branch_id AS id, jsonb_agg(jsonb_strip_nulls(resonate._promise_json(promises, now)) ORDER BY created_at, id) AS steps
FROM resonate.promises, (SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint AS now) AS clock
WHERE branch_id = ANY ($1) AND id <> branch_id GROUP BY branch_id`,
};

/**
 * A timer ends by itself here. With a target it would have a task as well, which the database would send to nobody
 * every five seconds.
 */
const withoutTimerTask = (request: Request): Request => {
  if (request.kind !== "task.fence" || request.data.action.kind !== "promise.create") return request;
  const { action } = request.data;
  if (action.data.tags["resonate:timer"] !== "true") return request;
  const { "resonate:target": _, ...tags } = action.data.tags;
  return { ...request, data: { ...request.data, action: { ...action, data: { ...action.data, tags } } } };
};

/** Whether what a request met has been undone: another's lock, most likely, for longer than a statement waits. */
const hasFailed = (answer: unknown): boolean => isResponse(answer) && answer.head.status === 500;

/** The execution that goes on with an answer: what it has done so far belongs into it. */
const resumedBy = (request: Request, response: Response): string | undefined => {
  if (response.kind === "task.suspend" && isRedirect(response) && request.kind === "task.suspend")
    return request.data.id;
  if (!isSuccess(response) || (response.kind !== "task.acquire" && response.kind !== "task.create")) return;
  const { task } = response.data;
  return task?.state === "acquired" && task.version > 1 ? task.id : undefined;
};

export interface PostgresSendOptions {
  readonly query: Query;
  readonly logger: Logger;
}

/**
 * Sends requests to the schema of resonatehq/resonate-pg, those that wait at the same time in one statement.
 *
 * In place of PostgresNetwork of @resonatehq/sdk 0.11.5, which sends each in one of its own. Can go once it does not.
 */
export const createPostgresSend = ({ query, logger }: PostgresSendOptions): Send => {
  /** After the statement that leases them, from when on nobody else writes there. */
  const addSteps = async (requests: readonly Request[], answers: readonly unknown[]) => {
    const resumed = new Map<string, { preload: unknown }>();
    for (const [index, request] of requests.entries()) {
      const answer = answers[index];
      const id = isResponse(answer) ? resumedBy(request, answer) : undefined;
      if (id !== undefined && isResponse(answer) && typeof answer.data === "object")
        resumed.set(id, Object.assign(answer.data, { preload: [] }));
    }
    if (resumed.size === 0) return;
    const rows = await query<{ id: string; steps: unknown }>(BRANCHES, [[...resumed.keys()]]);
    for (const { id, steps } of rows) Object.assign(resumed.get(id) ?? {}, { preload: steps });
  };
  const run = async (requests: readonly Request[]): Promise<unknown[]> => {
    const rows = await query<{ at: number; answer: unknown }>(RPC, [
      JSON.stringify(requests.map(withoutTimerTask)),
    ]);
    const answers: unknown[] = [];
    for (const { at, answer } of rows) {
      answers[at - 1] = hasFailed(answer) && requests.length > 1 ? undefined : answer;
    }
    await addSteps(requests, answers).catch((error: unknown) => {
      // The statement took effect, and is not to be run again: an error without Postgres' code counts as an outage.
      throw new Error("what the executions have done so far could not be read", { cause: error });
    });
    return answers;
  };
  const runTogether = createBatches({
    run,
    // Anything else is Postgres' word about the statement.
    isOutage: (error) => sqlState(error) === undefined || isAway(toError(error)),
    maxSize: MAX_REQUESTS,
    maxRunning: MAX_STATEMENTS,
  });

  /** Runs `attempt` until its answer is another than "failed", or patience ends. */
  const untilAnswered = async (attempt: () => Promise<unknown>): Promise<unknown> => {
    const until = performance.now() + PATIENCE_MS;
    for (;;) {
      const answer = await attempt();
      if (!hasFailed(answer) || performance.now() > until) return answer;
      await setTimeout(RETRY_MS);
    }
  };
  /**
   * Renews leases, however many requests wait. One whose execution is locked for long, by a statement that waits for
   * the disk, keeps no other from being renewed.
   */
  const renew = (request: TaskHeartbeatReq): Promise<unknown> => {
    const { head, kind, data } = request;
    const part = (tasks: typeof data.tasks): TaskHeartbeatReq => ({ kind, head, data: { ...data, tasks } });
    let [left, size] = [data.tasks, MAX_LEASES];
    return untilAnswered(async () => {
      let answer: unknown;
      const failed: typeof left = [];
      for (let at = 0; at === 0 || at < left.length; at += size) {
        const tasks = left.slice(at, at + size);
        const [own] = await run([part(tasks)]);
        if (hasFailed(own)) failed.push(...tasks);
        if (!hasFailed(answer)) answer = own;
      }
      [left, size] = [failed, 1];
      return answer;
    });
  };
  const exchange = async (request: Request): Promise<unknown> => {
    if (request.kind === "promise.search") return search(query, request);
    if (request.kind === "task.heartbeat") return renew(request);
    try {
      return await untilAnswered(() => runTogether(request));
    } catch (error) {
      // Text that Postgres does not take: NUL, or half of a pair of surrogates.
      if (sqlState(error)?.startsWith("22")) throw new RefusedError(400, toError(error).message);
      throw error;
    }
  };
  return checkedSend(exchange, logger);
};
