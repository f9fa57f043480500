import { type EventName, type Events, listen } from "./telemetry.ts";

/** What a worker process tells the one that supervises it. */
export interface Report {
  /** Executions by id with the version of the lease that this worker holds; 0 where it holds none any more. */
  readonly leases: readonly (readonly [id: string, version: number])[];
  /** This worker's id in its consumer group. */
  readonly memberId?: string;
}

/** An execution's first lease. */
const FIRST = 1;

/**
 * Reports the leases of this process's worker as they change, one report for all changes of a turn of the event loop.
 * That is before a step runs under a new lease, which takes another request to the server first. A step that was cut
 * runs again without one, so such a lease is reported at once: the step may be one that kills its process.
 */
export const reportLeases = (send: (report: Report) => void): Disposable => {
  const listeners = new DisposableStack();
  const on = <E extends EventName>(name: E, listener: (fields: Events[E]) => void) =>
    void listeners.use(listen(name, listener));

  let changed = new Map<string, number>();
  let memberId: string | undefined;
  let isDue = false;
  const flush = () => {
    isDue = false;
    if (changed.size === 0 && memberId === undefined) return;
    send({ leases: [...changed], ...(memberId !== undefined && { memberId }) });
    changed = new Map();
    memberId = undefined;
  };
  const soon = () => {
    if (!isDue) setImmediate(flush);
    isDue = true;
  };
  const note = (id: string, version: number) => {
    changed.set(id, version);
    soon();
  };

  on("execution.started", ({ executionId }) => note(executionId, FIRST));
  on("execution.resumed", ({ executionId, lease }) => note(executionId, lease));
  on("execution.taken-over", flush);
  for (const end of [
    "execution.suspended",
    "execution.ended",
    "execution.handed-back",
    "lease.lost",
  ] as const) {
    on(end, ({ executionId }) => note(executionId, 0));
  }
  // One that takes no messages may have nothing else to report for long: this says that it has begun to work.
  on("worker.ready", () => send({ leases: [] }));
  on("group.joined", (joined) => {
    memberId = joined.memberId;
    soon();
  });
  return listeners;
};

/** Whether a message of a child process is a report. */
export const isReport = (message: unknown): message is Report =>
  message !== null && typeof message === "object" && "leases" in message && Array.isArray(message.leases);
