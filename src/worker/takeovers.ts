import type { PromiseRecord, Send } from "@resonatehq/sdk";
import type { Connection } from "../resonate/connection.ts";
import type { Lease } from "../resonate/leases.ts";
import { requestHead } from "../resonate/request.ts";

/** Tag of a step's promise: which of the execution's leases began it. */
export const LEASE_TAG = "begun-under-lease";
/** Tag of a note: the lease under which an execution was handed back in the middle of a step. */
const HANDED_BACK_TAG = "handed-back-under-lease";

type History = Pick<Connection["history"], "leaseOf" | "find" | "idsOf">;

/** Whether a promise is no checkpoint, but a note of `noteHandBack`. */
export const isNote = (promise: PromiseRecord | undefined): boolean =>
  promise?.tags[HANDED_BACK_TAG] !== undefined;

const promisesOf = (history: History, executionId: string): PromiseRecord[] =>
  history.idsOf(executionId).flatMap((id) => history.find(executionId, id) ?? []);

/**
 * How often a step was taken over unfinished, up to now: leases that ended without a word while it ran. Those that
 * were handed back do not count, be it for a stop, an outage, or a worker that had another version.
 */
export const countTakeovers = (history: History, executionId: string, stepId: string): number => {
  const lease = history.leaseOf(executionId);
  const begunUnder = Number(history.find(executionId, stepId)?.tags[LEASE_TAG] ?? lease);
  const handedBackUnder = promisesOf(history, executionId)
    .filter(isNote)
    .map(({ tags }) => Number(tags[HANDED_BACK_TAG]));
  return lease - Math.max(begunUnder, ...handedBackUnder.map((own) => own + 1));
};

export interface NoteOptions {
  readonly send: Send;
  readonly history: History;
  readonly maxTakeovers: number;
}

/**
 * Notes that an execution is handed back in the middle of a step: the next worker takes it over from one that lives,
 * so that is no sign that the step kills its workers. Costs a request only where one takeover more would be too many.
 */
export const noteHandBack = async (
  { send, history, maxTakeovers }: NoteOptions,
  { id, version }: Lease,
): Promise<void> => {
  const step = promisesOf(history, id).find(
    ({ state, tags }) => state === "pending" && tags[LEASE_TAG] !== undefined,
  );
  if (step === undefined || countTakeovers(history, id, step.id) + 1 < maxTakeovers) return;
  const { "resonate:origin": origin = id, "resonate:branch": branch = id } = step.tags;
  const tags = {
    "resonate:origin": origin,
    "resonate:branch": branch,
    "resonate:parent": id,
    [HANDED_BACK_TAG]: String(version),
  };
  const noteId = `${id}:handed-back-${version}`;
  await send({
    kind: "task.fence",
    head: requestHead(),
    data: {
      id,
      version,
      action: {
        kind: "promise.create",
        head: requestHead(),
        data: { id: noteId, timeoutAt: step.timeoutAt, param: { headers: {}, data: "" }, tags },
      },
    },
  });
};
