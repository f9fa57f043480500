import { isSuccess, type PromiseRecord, type PromiseSearchReq, type Send } from "@resonatehq/sdk";
import { requestHead } from "../resonate/request.ts";
import { TIMER_TAG } from "../worker/checkpoint.ts";
import { type Elsewhere, findElsewhere, type Service, searchPending } from "../worker/service.ts";

/** The executions of a service that have not ended. Times are ISO 8601, UTC. */
export interface Executions {
  readonly inFlight: number;
  /** Those of them that sleep. */
  readonly asleep: number;
  /** When the first of them wakes. */
  readonly nextWakeAt?: string;
  /** When the oldest of those in flight began. */
  readonly oldestSince?: string;
  /** Those of them that wait for other workers. */
  readonly elsewhere: readonly Elsewhere[];
}

/** All promises that a search finds, page after page. @throws when the server does not answer, or refuses to */
const searchAll = async (
  send: Send,
  toRequest: (cursor?: string) => PromiseSearchReq,
): Promise<PromiseRecord[]> => {
  const all: PromiseRecord[] = [];
  for (let cursor: string | undefined; ; ) {
    const found = await send(toRequest(cursor));
    if (!isSuccess(found)) {
      throw new Error(`expected the Resonate server to search, got ${found.head.status}: ${found.data}`);
    }
    all.push(...found.data.promises);
    cursor = found.data.cursor;
    if (cursor === undefined) return all;
  }
};

const searchSleeps = (cursor?: string): PromiseSearchReq => ({
  kind: "promise.search",
  head: requestHead(),
  data: {
    state: "pending",
    tags: { [TIMER_TAG]: "true" },
    limit: 1000,
    ...(cursor === undefined ? {} : { cursor }),
  },
});

const first = (times: readonly number[]) =>
  times.length === 0 ? undefined : new Date(times.reduce((a, b) => Math.min(a, b))).toISOString();

/** Looks at the executions of a service that have not ended. */
export const readExecutions = async (send: Send, service: Service): Promise<Executions> => {
  const [executions, sleeps] = await Promise.all([
    searchAll(send, (cursor) => searchPending(service.name, cursor)),
    searchAll(send, searchSleeps),
  ]);
  const own = new Set(executions.map(({ id }) => id));
  const asleep = sleeps.filter(({ tags }) => own.has(tags["resonate:origin"] ?? ""));
  const nextWakeAt = first(asleep.map(({ timeoutAt }) => timeoutAt));
  const oldestSince = first(executions.map(({ createdAt }) => createdAt));
  return {
    inFlight: executions.length,
    asleep: asleep.length,
    ...(nextWakeAt !== undefined && { nextWakeAt }),
    ...(oldestSince !== undefined && { oldestSince }),
    elsewhere: findElsewhere(executions, service),
  };
};
