import { type EventName, type Events, listen, type WorkerState } from "../worker/telemetry.ts";

/** A partition may stand still for so long, in milliseconds, before a restart is tried. */
const STALL_MS = 300_000;
/** The broker answers if it has so recently, in milliseconds: it is asked every few seconds. */
const BROKER_SILENT_MS = 15_000;

/** What a probe is told. `reasons` says what is wrong, in words. */
export interface Verdict {
  readonly ok: boolean;
  readonly reasons: readonly string[];
}

export interface HealthOptions {
  /** `undefined` while the worker has not started. */
  readonly state: () => WorkerState | undefined;
  /** Whether the worker takes messages (TAKE_MESSAGES): one that only executes is in no group. */
  readonly takesMessages?: boolean;
  /** Milliseconds, from any beginning. */
  readonly now?: () => number;
}

export interface Health extends Disposable {
  /** Fails only where a restart helps: never for an outage or a rebalance. That the event loop turns, the answer shows. */
  live(): Verdict;
  /** Whether the worker consumes and executes. One without partitions does: there may be more workers than those. */
  ready(): Verdict;
  /** To be called when the worker cannot go on. */
  died(reason: string): void;
}

/** How the work on a partition goes on. */
interface Progress {
  /** When it last went on, or had no reason to. */
  since: number;
  measuredAt: number;
  committed: number;
  /** The lag at `since`. */
  lag: number;
  /** The offset after the last message that came. */
  end: number;
}

const judge = (reasons: readonly string[]): Verdict => ({ ok: reasons.length === 0, reasons });

/** Watches by what the worker tells of. */
export const watchHealth = (options: HealthOptions): Health => {
  const { state, takesMessages = true, now = () => performance.now() } = options;
  const partitions = new Map<number, Progress>();
  let hasJoined = false;
  let isReached = false;
  let isStopping = false;
  let death: string | undefined;

  const listeners: Disposable[] = [];
  const on = <E extends EventName>(name: E, listener: (fields: Events[E]) => void) =>
    void listeners.push(listen(name, listener));

  on("group.joined", (joined) => {
    hasJoined = true;
    partitions.clear();
    const begun = { since: now(), measuredAt: now(), committed: -1, lag: 0, end: 0 };
    for (const partition of joined.partitions) partitions.set(partition, { ...begun });
  });
  on("group.left", () => {
    hasJoined = false;
    partitions.clear();
  });
  on("messages.received", ({ partition, end }) => {
    const own = partitions.get(partition);
    if (own) Object.assign(own, { end, since: now() });
  });
  on("lag.measured", ({ partition, committed, lag }) => {
    const own = partitions.get(partition);
    if (!own) return;
    const wasSilent = now() - own.measuredAt > BROKER_SILENT_MS;
    // A lag alone is no sign of messages: it may be of control records, which nobody is given.
    const hasMessages = committed < own.end || lag > own.lag;
    const { inFlight = 0, maxInFlight = 0 } = state() ?? {};
    const mayStand = !hasMessages || !isReached || inFlight >= maxInFlight;
    if (wasSilent || mayStand || committed !== own.committed) Object.assign(own, { since: now(), lag });
    Object.assign(own, { measuredAt: now(), committed });
  });
  on("request.ended", ({ status }) => {
    isReached = status !== 0;
  });
  on("worker.stopping", () => {
    isStopping = true;
  });

  const stalled = () =>
    [...partitions]
      .filter(
        ([, { since, measuredAt }]) =>
          isReached && measuredAt - since >= STALL_MS && now() - measuredAt <= BROKER_SILENT_MS,
      )
      .map(([partition, { since }]) => {
        const seconds = Math.round((now() - since) / 1000);
        return `partition ${partition} has messages, and none was dispatched for ${seconds} s`;
      });

  return {
    live: () => judge(death === undefined ? stalled() : [`the worker cannot go on: ${death}`]),
    ready: () =>
      judge([
        ...(death === undefined ? [] : [`the worker cannot go on: ${death}`]),
        ...(isStopping ? ["the worker stops"] : []),
        ...(hasJoined || !takesMessages ? [] : ["the worker has not joined its consumer group"]),
        ...(isReached ? [] : ["the Resonate server does not answer"]),
      ]),
    died: (reason) => {
      death = reason;
    },
    [Symbol.dispose]: () => {
      for (const listener of listeners) listener[Symbol.dispose]();
    },
  };
};
