import { setTimeout } from "node:timers/promises";
import type { Kafka } from "kafkajs";
import { withAdmin } from "../kafka/topics.ts";
import type { Log } from "../support/log.ts";
import { withTimeout } from "../support/retry.ts";

/** Another redrive of the same topic runs. A retry can help once it has ended. */
class RedriveRunningError extends Error {
  readonly code = "REDRIVE_RUNNING";
  readonly canRetry = true;
  override name = "RedriveRunningError";
}

/** Lets one redrive of a topic run at a time. */
export interface RedriveLock extends AsyncDisposable {
  /** Aborted when the lock is lost: the process stood still for so long that the broker took it for dead. */
  readonly lost: AbortSignal;
  /**
   * Waits until no other redrive holds the lock, so long as one may have been killed.
   *
   * @throws {RedriveRunningError} when there still is one
   */
  waitForOthers(): Promise<void>;
  /** @throws {RedriveRunningError} when another one was faster */
  acquire(): Promise<void>;
}

export interface RedriveLockOptions {
  readonly kafka: Kafka;
  readonly groupId: string;
  /** A topic to join the group with. It has to exist once the lock is acquired. */
  readonly topic: string;
  readonly log: Log;
  readonly signal: AbortSignal;
}

/** The broker takes a killed redrive for dead after so many milliseconds; brokers allow no less. */
const SESSION_TIMEOUT_MS = 6000;
const LOOK_INTERVAL_MS = 500;
const JOIN_TIMEOUT_MS = 60_000;

/**
 * A lock by a consumer group: its leader has it. The group is deleted when the lock is given back, and a killed
 * process's membership ends with its session.
 */
export const createRedriveLock = ({
  kafka,
  groupId,
  topic,
  log,
  signal,
}: RedriveLockOptions): RedriveLock => {
  const lost = new AbortController();
  const opened = new AsyncDisposableStack();

  const countMembers = () =>
    withAdmin(kafka, async (admin) => {
      const { groups } = await admin.describeGroups([groupId]);
      return groups[0]?.members.length ?? 0;
    });
  const running = (): RedriveRunningError =>
    new RedriveRunningError(`expected to be the only redrive, got another one that runs (group ${groupId})`);

  return {
    lost: lost.signal,
    waitForOthers: async () => {
      const deadline = Date.now() + SESSION_TIMEOUT_MS + 4 * LOOK_INTERVAL_MS;
      for (let looks = 0; (await countMembers()) > 0; looks++) {
        if (Date.now() > deadline) throw running();
        if (looks === 0) log.warn("another redrive runs, or was killed: this shows within 8 s");
        await setTimeout(LOOK_INTERVAL_MS, undefined, { signal }).catch(() => signal.throwIfAborted());
      }
    },
    acquire: async () => {
      const consumer = kafka.consumer({
        groupId,
        sessionTimeout: SESSION_TIMEOUT_MS,
        heartbeatInterval: SESSION_TIMEOUT_MS / 4,
        maxWaitTimeInMs: LOOK_INTERVAL_MS,
        allowAutoTopicCreation: false,
      });
      const joined = Promise.withResolvers<void>();
      joined.promise.catch(() => {});
      const end = (error: Error) => {
        joined.reject(error);
        lost.abort(error);
      };
      consumer.on(consumer.events.GROUP_JOIN, ({ payload }) => {
        if (payload.isLeader) joined.resolve();
        else end(running());
      });
      consumer.on(consumer.events.CRASH, ({ payload }) => end(payload.error));
      opened.defer(async () => {
        await consumer.disconnect();
        // Refused where another redrive has joined meanwhile, which deletes it when it ends.
        await withAdmin(kafka, (admin) => admin.deleteGroups([groupId])).catch(() => {});
      });
      await consumer.connect();
      await consumer.subscribe({ topic });
      await consumer.run({ autoCommit: false, eachMessage: async () => {} });
      await withTimeout(joined.promise, JOIN_TIMEOUT_MS, `group ${groupId} to take this redrive in`);
    },
    [Symbol.asyncDispose]: () => opened.disposeAsync(),
  };
};
