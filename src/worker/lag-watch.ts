import type { Admin } from "kafkajs";
import { isHeard, listen, tell } from "./telemetry.ts";

/** How often the broker is asked, in milliseconds. */
const INTERVAL_MS = 3000;

export interface LagWatchOptions {
  readonly admin: Pick<Admin, "connect" | "disconnect" | "fetchTopicOffsets" | "fetchOffsets">;
  readonly groupId: string;
  readonly topic: string;
}

/**
 * Measures how far the group is behind in this worker's partitions. What a batch says of it is not enough: none is
 * fetched while as many executions as may be are in flight, and that is when the lag grows.
 */
export const watchLag = ({ admin, groupId, topic }: LagWatchOptions): AsyncDisposable => {
  let own: readonly number[] = [];
  let isMeasuring = false;

  const measure = async () => {
    if (own.length === 0 || !isHeard("lag.measured")) return;
    await admin.connect();
    const [ends, [group]] = await Promise.all([
      admin.fetchTopicOffsets(topic),
      admin.fetchOffsets({ groupId, topics: [topic] }),
    ]);
    const offsets = new Map(group?.partitions.map(({ partition, offset }) => [partition, Number(offset)]));
    for (const { partition, low, high } of ends) {
      // Those of now: some may have gone to others meanwhile.
      if (!own.includes(partition)) continue;
      // Below the first message there is where nothing was committed, or where the topic has let messages go.
      const committed = Math.max(offsets.get(partition) ?? 0, Number(low));
      tell("lag.measured", { topic, partition, committed, lag: Number(high) - committed });
    }
  };
  const timer = setInterval(() => {
    if (isMeasuring) return;
    isMeasuring = true;
    // An outage is told by those whom it keeps from their work.
    measure()
      .catch(() => {})
      .finally(() => {
        isMeasuring = false;
      });
  }, INTERVAL_MS);
  const listeners = [
    listen("group.joined", ({ partitions }) => {
      own = partitions;
    }),
    listen("group.left", () => {
      own = [];
    }),
  ];
  return {
    [Symbol.asyncDispose]: async () => {
      clearInterval(timer);
      for (const listener of listeners) listener[Symbol.dispose]();
      await admin.disconnect();
    },
  };
};
