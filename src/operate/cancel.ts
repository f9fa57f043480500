import { setTimeout } from "node:timers/promises";
import { isSuccess, type PromiseRecord, type Send } from "@resonatehq/sdk";
import { decodeCall } from "../resonate/call.ts";
import { requestHead } from "../resonate/request.ts";
import { cancelMark, cancelSettlement } from "../worker/cancel.ts";
import { DEAD_LETTER_STEP } from "../worker/dead-letter.ts";
import type { Service } from "../worker/service.ts";
import { EndedRecordError, UnknownRecordError } from "./errors.ts";
import { settledState } from "./inspect.ts";
import { findTask, findTrail, type Segment, type Trail } from "./trail.ts";

/** Between two looks at an execution that is between two checkpoints, in milliseconds. */
const LOOK_MS = 100;

const isDeadLetter = ({ param }: PromiseRecord) => decodeCall(param).func === DEAD_LETTER_STEP;

/** How an execution has ended, or is about to, if it is. */
const endOf = ({ segments }: Trail): string | undefined => {
  const [{ promise, checkpoints }] = segments;
  if (promise.state !== "pending") return settledState(promise);
  // What the last segment came to goes for the ones before it.
  const last = segments.at(-1)?.promise ?? promise;
  if (last.state !== "pending") return settledState(last);
  return checkpoints.some(isDeadLetter) ? "failed" : undefined;
};

/** Settles a step or sleep as cancelled. @returns whether it was, and not otherwise before */
const settle = async (send: Send, id: string): Promise<boolean> => {
  const data = { id, ...cancelSettlement() };
  const answer = await send({ kind: "promise.settle", head: requestHead(), data });
  if (!isSuccess(answer))
    throw new Error(`promise ${id} cannot be settled: ${answer.head.status}: ${answer.data}`);
  return answer.data.promise.state === data.state;
};

/** Marks an execution that waits for a worker. @returns whether whoever takes it up is sure to see the mark */
const mark = async (send: Send, id: string): Promise<boolean> => {
  const before = await findTask(send, id);
  if (before?.state !== "pending") return false;
  const data = cancelMark(id, Date.now());
  const answer = await send({ kind: "promise.create", head: requestHead(), data });
  if (!isSuccess(answer))
    throw new Error(`promise ${data.id} cannot be made: ${answer.head.status}: ${answer.data}`);
  const after = await findTask(send, id);
  return after?.state === "pending" && after.version === before.version;
};

/** Ends an execution at its next checkpoint, unless it is between two. @returns whether it will end there */
const end = async (send: Send, { promise, checkpoints }: Segment): Promise<boolean> => {
  if (checkpoints.some(({ state }) => state === "rejected_canceled")) return true;
  const awaited = checkpoints.find(({ state }) => state === "pending");
  return awaited ? settle(send, awaited.id) : mark(send, promise.id);
};

/**
 * Cancels a record: its execution ends at its next checkpoint, and its message goes to the dead letters. Both are a
 * worker's doing, at once or when one runs again; that it is to be done stands on record at the server.
 *
 * What the execution waits for is settled as cancelled. That wakes one that sleeps, and a worker that runs the step sees
 * it when it writes the checkpoint. An execution that waits for a worker, with no step begun, gets a mark. One that is
 * between two checkpoints is looked at again.
 *
 * @throws {UnknownRecordError} when the server has no execution of it
 * @throws {EndedRecordError} when it has ended, or is about to
 * @throws the reason of `signal`
 */
export const cancel = async (
  send: Send,
  { name }: Pick<Service, "name">,
  id: string,
  signal: AbortSignal,
): Promise<void> => {
  for (let isAsked = false; ; ) {
    const trail = await findTrail(send, id, name);
    if (trail === undefined) throw new UnknownRecordError(id, name);
    const ended = endOf(trail);
    if (ended !== undefined && !(isAsked && ended !== "done")) throw new EndedRecordError(id, ended);
    if (ended !== undefined || (await end(send, trail.segments.at(-1) ?? trail.segments[0]))) return;
    isAsked = true;
    await setTimeout(LOOK_MS, undefined, { signal });
  }
};
