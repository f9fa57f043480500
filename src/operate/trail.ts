import { isSuccess, type PromiseRecord, type Send, type TaskRecord } from "@resonatehq/sdk";
import { decodeCall } from "../resonate/call.ts";
import { checkpointId, continuationId } from "../resonate/child-ids.ts";
import { requestHead } from "../resonate/request.ts";
import { executionId, qualifiedId } from "../worker/dispatch.ts";

/** One execution of a long record, and what is recorded of its way: its steps and sleeps, in order. */
export interface Segment {
  readonly promise: PromiseRecord;
  readonly checkpoints: readonly PromiseRecord[];
}

/** One execution of a message: the first segment's promise is that of the whole. A long one has several. */
export interface Trail {
  /** How often the message had been driven again before. */
  readonly redrives: number;
  readonly segments: readonly [Segment, ...Segment[]];
}

/** So many promises are asked for at once, and as many are missing behind the last one of an execution. */
const CHUNK = 8;

/** What the server has under a promise id, if anything. @throws when it does not answer, or refuses to */
const findPromise = async (send: Send, id: string): Promise<PromiseRecord | undefined> => {
  const found = await send({ kind: "promise.get", head: requestHead(), data: { id } });
  if (isSuccess(found)) return found.data.promise;
  if (found.head.status === 404) return;
  throw new Error(`expected promise ${id} from the Resonate server, got ${found.head.status}: ${found.data}`);
};

/** The task of an execution: who holds it. @throws when the server does not answer, or refuses to */
export const findTask = async (send: Send, id: string): Promise<TaskRecord | undefined> => {
  const found = await send({ kind: "task.get", head: requestHead(), data: { id } });
  if (isSuccess(found)) return found.data.task;
  if (found.head.status === 404) return;
  throw new Error(`expected task ${id} from the Resonate server, got ${found.head.status}: ${found.data}`);
};

/** Reads an execution's checkpoints by their ids, which follow one another, and finds the one that continues it. */
const readSegment = async (send: Send, promise: PromiseRecord) => {
  const checkpoints: PromiseRecord[] = [];
  for (let first = 0; ; first += CHUNK) {
    const chunk = await Promise.all(
      Array.from({ length: CHUNK }, async (_, i) => {
        const own = await findPromise(send, checkpointId(promise.id, first + i));
        return {
          own,
          next: own ? undefined : await findPromise(send, continuationId(promise.id, first + i)),
        };
      }),
    );
    checkpoints.push(...chunk.flatMap(({ own }) => own ?? []));
    const next = chunk.find((one) => one.next)?.next;
    if (next || chunk.every(({ own }) => own === undefined))
      return { segment: { promise, checkpoints }, next };
  }
};

const readTrail = async (send: Send, whole: PromiseRecord, redrives: number): Promise<Trail> => {
  const first = await readSegment(send, whole);
  const rest: Segment[] = [];
  for (let { next } = first; next; ) {
    const read = await readSegment(send, next);
    rest.push(read.segment);
    next = read.next;
  }
  return { redrives, segments: [first.segment, ...rest] };
};

/** How many redrives may be missing in a row: the server may have lost the execution of one. */
const MAX_MISSING = 2;

/**
 * The latest execution of a message at a service, or `undefined` where it has none. Its id is the plain one, or, where
 * another service has that, the qualified one; each redrive has another.
 */
export const findTrail = async (send: Send, id: string, service: string): Promise<Trail | undefined> => {
  let latest: { redrives: number; whole: PromiseRecord } | undefined;
  for (let redrives = 0; redrives < (latest?.redrives ?? -1) + 1 + MAX_MISSING; redrives++) {
    const plain = executionId(id, redrives);
    const ids = [plain, qualifiedId(plain, service)];
    const found = await Promise.all(ids.map((own) => findPromise(send, own)));
    const whole = found.find((promise) => decodeCall(promise?.param).func === service);
    if (whole) latest = { redrives, whole };
  }
  return latest && readTrail(send, latest.whole, latest.redrives);
};
