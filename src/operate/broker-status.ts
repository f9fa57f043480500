import kafkajs, { type Admin } from "kafkajs";
import type { Extent, TopicReader } from "../kafka/topic-reader.ts";

const { AssignerProtocol, ConfigResourceTypes } = kafkajs;

/** How far the group has come in one partition. Times are ISO 8601, UTC, or in milliseconds. */
export interface PartitionStatus {
  readonly partition: number;
  /** The next message to be read; absent where the group has read none. */
  readonly committed?: number;
  /** Messages that nobody has read yet. */
  readonly lag: number;
  /** Messages that the topic let go before anybody read them. */
  readonly lost: number;
  readonly oldestUnread?: { readonly offset: string; readonly at: string; readonly ageMs: number };
}

/** A member of the consumer group. */
export interface Member {
  readonly worker: string;
  readonly host: string;
  readonly partitions: readonly number[];
}

/** The group's offset in each partition where it has one. */
const fetchCommitted = async (
  admin: Pick<Admin, "fetchOffsets">,
  groupId: string,
  topic: string,
): Promise<Map<number, bigint>> => {
  const [group] = await admin.fetchOffsets({ groupId, topics: [topic] });
  const known = (group?.partitions ?? []).filter(({ offset }) => Number(offset) >= 0);
  return new Map(known.map(({ partition, offset }) => [partition, BigInt(offset)]));
};

const findOldest = async (
  reader: Pick<TopicReader, "read">,
  topic: string,
  partition: number,
  unread: Extent,
  now: number,
): Promise<PartitionStatus["oldestUnread"]> => {
  for await (const { messages } of reader.read(topic, partition, unread)) {
    const [oldest] = messages;
    if (oldest === undefined) continue;
    const at = Number(oldest.timestamp);
    return { offset: oldest.offset, at: new Date(at).toISOString(), ageMs: now - at };
  }
  return;
};

/** How far a group has come in each partition of a topic; `now` in milliseconds since 1970. */
export const readPartitions = async (
  admin: Pick<Admin, "fetchOffsets">,
  reader: Pick<TopicReader, "extents" | "read">,
  { groupId, topic, now }: { groupId: string; topic: string; now: number },
): Promise<PartitionStatus[]> => {
  const [committed, extents] = await Promise.all([
    fetchCommitted(admin, groupId, topic),
    reader.extents(topic),
  ]);
  const partitions = [...extents].map(async ([partition, { start, end }]) => {
    const next = committed.get(partition);
    const from = next === undefined || next < start ? start : next;
    const oldest =
      from < end ? await findOldest(reader, topic, partition, { start: from, end }, now) : undefined;
    return {
      partition,
      ...(next !== undefined && { committed: Number(next) }),
      lag: Math.max(0, Number(end - from)),
      lost: next !== undefined && next < start ? Number(start - next) : 0,
      ...(oldest && { oldestUnread: oldest }),
    };
  });
  return (await Promise.all(partitions)).sort((a, b) => a.partition - b.partition);
};

/**
 * For how long a topic keeps a message at least, in milliseconds; `undefined` where time alone removes none, or where
 * the broker does not tell.
 */
export const readRetention = async (
  admin: Pick<Admin, "describeConfigs">,
  topic: string,
): Promise<number | undefined> => {
  const resource = {
    type: ConfigResourceTypes.TOPIC,
    name: topic,
    configNames: ["retention.ms", "cleanup.policy"],
  };
  // Not every broker tells, nor tells everybody: the embedded one does not.
  const found = await admin
    .describeConfigs({ includeSynonyms: false, resources: [resource] })
    .catch(() => undefined);
  const entries = new Map(
    found?.resources[0]?.configEntries.map(({ configName, configValue }) => [configName, configValue]),
  );
  const ms = entries.get("retention.ms");
  if (ms === undefined) return;
  const isDeleted = (entries.get("cleanup.policy") ?? "delete").includes("delete");
  return isDeleted && Number(ms) >= 0 ? Number(ms) : undefined;
};

/** The members of a consumer group, and what they read of a topic. */
export const readMembers = async (admin: Admin, groupId: string, topic: string): Promise<Member[]> => {
  const { groups } = await admin.describeGroups([groupId]);
  return (groups[0]?.members ?? []).map(({ clientId, clientHost, memberAssignment }) => ({
    worker: clientId,
    host: clientHost.replace(/^\//, ""),
    // Empty while a rebalance is under way.
    partitions:
      memberAssignment.length === 0
        ? []
        : (AssignerProtocol.MemberAssignment.decode(memberAssignment)?.assignment[topic] ?? []),
  }));
};
