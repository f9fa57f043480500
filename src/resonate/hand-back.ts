import { isSuccess, type Send } from "@resonatehq/sdk";
import type { Lease } from "./leases.ts";
import { HANDED_BACK_TAG, INTERNAL_ID, requestHead } from "./request.ts";

/** How long the note of a hand-back is pending, in milliseconds: nobody waits for it. */
const NOTE_MS = 60_000;
/** How long a task is leased that is to be handed back at once, in milliseconds. */
const BRIEFLY_MS = 5000;

/** Leases a task to the worker `pid`, to hand it back at once; `undefined` where the server does not give it. */
export const takeBriefly = async (
  send: Send,
  { id, version }: Lease,
  pid: string,
): Promise<Lease | undefined> => {
  const data = { id, version, pid, ttl: BRIEFLY_MS };
  const taken = await send({ kind: "task.acquire", head: requestHead(), data });
  return isSuccess(taken) ? { id, version: taken.data.task.version } : undefined;
};

/**
 * Gives a lease back, with a note of that at the execution: without it a step that is handed back again and again
 * would be taken for one that kills its worker. See history.ts.
 */
export const handBack = async (send: Send, { id, version }: Lease): Promise<void> => {
  const note = {
    id: `${id}:${INTERNAL_ID}${version}`,
    timeoutAt: Date.now() + NOTE_MS,
    param: { headers: {}, data: "" },
    tags: {
      // What is of an execution's branch comes along with its lease.
      "resonate:branch": id,
      "resonate:parent": id,
      "resonate:origin": id.split(":", 1)[0] ?? id,
      [HANDED_BACK_TAG]: String(version),
    },
  };
  await send({ kind: "promise.create", head: requestHead(), data: note });
  await send({ kind: "task.release", head: requestHead(), data: { id, version } });
};

/** Takes a task that the server offers to the worker `pid`, and hands it back at once: the server offers it anew. */
export const passOn = async (send: Send, task: Lease, pid: string): Promise<void> => {
  const lease = await takeBriefly(send, task, pid);
  if (lease !== undefined) await handBack(send, lease);
};
