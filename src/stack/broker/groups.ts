import { type ErrorCode, errors } from "./errors.ts";
import { Group } from "./group.ts";

export interface CommittedOffset {
  readonly offset: bigint;
  readonly metadata: string | null;
}

interface GroupEntry {
  readonly membership: Group;
  /** By topic, then by partition. */
  readonly offsets: Map<string, Map<number, CommittedOffset>>;
}

/** The consumer groups of the broker: who is in them, and how far they have read. */
export class Groups {
  readonly #groups = new Map<string, GroupEntry>();

  ids(): string[] {
    return [...this.#groups.keys()];
  }

  membership(groupId: string): Group | undefined {
    return this.#groups.get(groupId)?.membership;
  }

  /** The group of this id, which comes into being when first joined or committed to. */
  ensure(groupId: string): Group {
    return this.#ensure(groupId).membership;
  }

  commit(groupId: string, topic: string, partition: number, committed: CommittedOffset): void {
    const { offsets } = this.#ensure(groupId);
    const partitions = offsets.get(topic) ?? new Map<number, CommittedOffset>();
    offsets.set(topic, partitions.set(partition, committed));
  }

  committed(groupId: string, topic: string, partition: number): CommittedOffset | undefined {
    return this.#groups.get(groupId)?.offsets.get(topic)?.get(partition);
  }

  /** Every topic and its partitions that the group has committed offsets for. */
  committedPartitions(groupId: string): { topic: string; partitions: number[] }[] {
    const offsets = this.#groups.get(groupId)?.offsets ?? new Map<string, Map<number, CommittedOffset>>();
    return [...offsets].map(([topic, partitions]) => ({
      topic,
      partitions: [...partitions.keys()],
    }));
  }

  /** @returns 0, 68 NON_EMPTY_GROUP or 69 GROUP_ID_NOT_FOUND */
  delete(groupId: string): ErrorCode {
    const group = this.#groups.get(groupId);
    if (group === undefined) return errors.groupIdNotFound;
    if (!group.membership.isEmpty) return errors.nonEmptyGroup;
    this.#groups.delete(groupId);
    return errors.none;
  }

  /** A topic was deleted: a later one of the same name starts without commits. */
  forgetTopic(topic: string): void {
    for (const { offsets } of this.#groups.values()) offsets.delete(topic);
  }

  /** Ends all memberships and their timers; committed offsets stay. */
  resetMemberships(): void {
    for (const { membership } of this.#groups.values()) membership.reset();
  }

  #ensure(groupId: string): GroupEntry {
    const group = this.#groups.get(groupId) ?? {
      membership: new Group(),
      offsets: new Map(),
    };
    this.#groups.set(groupId, group);
    return group;
  }
}
