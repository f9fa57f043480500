import { describe } from "../support/errors.ts";
import type { Log } from "../support/log.ts";
import { retryUntilDone } from "../support/retry.ts";
import type { RunningConsumer } from "./consumer.ts";

export interface MembershipOptions {
  /** Joins the consumer group, until `signal` is aborted. */
  readonly join: (signal: AbortSignal) => Promise<RunningConsumer>;
  readonly log: Log;
}

/** A place in the consumer group that can be left for a while. */
export interface Membership extends RunningConsumer {
  /** Resolves once the group was joined for the first time; rejects when that fails. */
  readonly joined: Promise<void>;
  /** Leaves the group: its partitions go to workers that can work on them. */
  pause(): void;
  /** Joins it again. */
  resume(): void;
}

/** Joins the consumer group, and from then on leaves it and joins it again as it is told, one after the other. */
export const joinGroup = ({ join, log }: MembershipOptions): Membership => {
  const failed = Promise.withResolvers<never>();
  failed.promise.catch(() => {});
  const stopping = new AbortController();
  let consumer: RunningConsumer | undefined;
  let last: Promise<void> = Promise.resolve();

  const enter = async () => {
    if (consumer || stopping.signal.aborted) return;
    const present = await join(stopping.signal);
    consumer = present;
    // What ends one that is left is that it was left.
    present.failed.catch((error) => {
      if (consumer === present) failed.reject(error);
    });
  };
  const leave = async () => {
    const present = consumer;
    consumer = undefined;
    await present?.stop();
  };
  /** Each begins when the one before it has come to its end. */
  const next = (what: string, work: () => Promise<void>) => {
    const onFailure = (error: unknown) =>
      log.warn(`cannot ${what} the consumer group, trying on: ${describe(error)}`);
    last = last.then(() => retryUntilDone(work, { signal: stopping.signal, onFailure })).catch(() => {});
    return last;
  };

  const joined = enter();
  last = joined.catch(() => {});
  return {
    joined,
    failed: failed.promise,
    pause: () => void next("leave", leave),
    resume: () => void next("join", enter),
    stop: async () => {
      stopping.abort();
      await last;
      await leave();
    },
  };
};

/** The place of a worker that takes no messages: in no group. */
export const outsideGroup = (): Membership => ({
  joined: Promise.resolve(),
  failed: new Promise(() => {}),
  pause: () => {},
  resume: () => {},
  stop: async () => {},
});
