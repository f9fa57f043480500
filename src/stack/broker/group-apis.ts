import { type ErrorCode, errors } from "./errors.ts";
import { type Handler, nodeId, noThrottle } from "./request.ts";

/** Kafka's default `offset.metadata.max.bytes`. */
const maxMetadataBytes = 4096;

/** FindCoordinator 0–2. Of transactions (key type 1) there is no coordinator. */
export const findCoordinator: Handler = async ({ state, version, body }, answer) => {
  body.string(); // group id
  const forGroup = version < 1 || body.int8() === 0;
  if (version >= 1) answer.int32(noThrottle);
  answer.int16(forGroup ? errors.none : errors.invalidRequest);
  if (version >= 1) answer.string(null); // error message
  answer.int32(nodeId).string(state.advertised.host).int32(state.advertised.port);
};

/** JoinGroup 2–4; v5 would add static members. */
export const joinGroup: Handler = async ({ state, version, body, clientId, clientHost }, answer) => {
  const groupId = body.string();
  const request = {
    sessionTimeoutMs: body.int32(),
    rebalanceTimeoutMs: body.int32(),
    memberId: body.string(),
    protocolType: body.string(),
    // Copied: a view would keep the whole request in memory.
    protocols: body.array(() => ({
      name: body.string(),
      metadata: Buffer.from(body.bytes()),
    })),
    clientId,
    clientHost,
    idRequired: version >= 4,
  };
  const refused = {
    error: errors.invalidGroupId,
    generation: -1,
    protocol: "",
    leader: "",
    memberId: "",
    members: [],
  };
  const joined = groupId === "" ? refused : await state.groups.ensure(groupId).join(request);
  answer.int32(noThrottle).int16(joined.error).int32(joined.generation);
  answer.string(joined.protocol).string(joined.leader).string(joined.memberId);
  answer.array(joined.members, ({ id, metadata }) => answer.string(id).bytes(metadata));
};

/** SyncGroup 0–2. */
export const syncGroup: Handler = async ({ state, version, body }, answer) => {
  const group = state.groups.membership(body.string());
  const generation = body.int32();
  const memberId = body.string();
  const assignments = new Map(body.array(() => [body.string(), Buffer.from(body.bytes())]));
  const synced = await group?.sync(memberId, generation, assignments);
  if (version >= 1) answer.int32(noThrottle);
  answer.int16(synced?.error ?? errors.unknownMemberId).bytes(synced?.assignment ?? Buffer.alloc(0));
};

/** Heartbeat 0–2. */
export const heartbeat: Handler = async ({ state, version, body }, answer) => {
  const group = state.groups.membership(body.string());
  const generation = body.int32();
  const memberId = body.string();
  if (version >= 1) answer.int32(noThrottle);
  answer.int16(group?.heartbeat(memberId, generation) ?? errors.unknownMemberId);
};

/** LeaveGroup 0–2. */
export const leaveGroup: Handler = async ({ state, version, body }, answer) => {
  const group = state.groups.membership(body.string());
  const memberId = body.string();
  if (version >= 1) answer.int32(noThrottle);
  answer.int16(group?.leave(memberId) ?? errors.unknownMemberId);
};

/** OffsetCommit 2–5. Offsets are kept for good: the retention time is ignored. */
export const offsetCommit: Handler = async ({ state, version, body }, answer) => {
  const groupId = body.string();
  const generation = body.int32();
  const memberId = body.string();
  if (version <= 4) body.int64(); // retention time
  const commits = body.array(() => {
    const topic = body.string();
    const partitions = body.array(() => {
      return {
        partition: body.int32(),
        committed: { offset: body.int64(), metadata: body.nullableString() },
      };
    });
    return { topic, partitions };
  });
  const group = state.groups.membership(groupId);
  const outsideGroup = generation < 0 ? errors.none : errors.illegalGeneration;
  const refusal =
    groupId === "" ? errors.invalidGroupId : (group?.checkCommit(memberId, generation) ?? outsideGroup);
  const commit = (topic: string, partition: number, metadata: string | null): ErrorCode => {
    if (refusal !== errors.none) return refusal;
    if (state.topics.log(topic, partition) === undefined) return errors.unknownTopicOrPartition;
    return Buffer.byteLength(metadata ?? "") > maxMetadataBytes ? errors.offsetMetadataTooLarge : errors.none;
  };
  if (version >= 3) answer.int32(noThrottle);
  answer.array(commits, ({ topic, partitions }) => {
    answer.string(topic).array(partitions, ({ partition, committed }) => {
      const error = commit(topic, partition, committed.metadata);
      if (error === errors.none) state.groups.commit(groupId, topic, partition, committed);
      answer.int32(partition).int16(error);
    });
  });
};

/** OffsetFetch 1–4. From v2 on null topics ask for all that was committed; offset -1 tells that nothing was. */
export const offsetFetch: Handler = async ({ state, version, body }, answer) => {
  const groupId = body.string();
  const readTopic = () => ({
    topic: body.string(),
    partitions: body.array(() => body.int32()),
  });
  const wanted = body.nullableArray(readTopic) ?? state.groups.committedPartitions(groupId);
  if (version >= 3) answer.int32(noThrottle);
  answer.array(wanted, ({ topic, partitions }) => {
    answer.string(topic).array(partitions, (partition) => {
      const { offset, metadata } = state.groups.committed(groupId, topic, partition) ?? {
        offset: -1n,
        metadata: "",
      };
      answer.int32(partition).int64(offset).string(metadata).int16(errors.none);
    });
  });
  if (version >= 2) answer.int16(errors.none);
};

/** DescribeGroups 0–2. A group nobody has heard of is Dead, not an error. */
export const describeGroups: Handler = async ({ state, version, body }, answer) => {
  const unknown = {
    state: "Dead",
    protocolType: "",
    protocol: "",
    members: [],
  };
  const groupIds = body.array(() => body.string());
  if (version >= 1) answer.int32(noThrottle);
  answer.array(groupIds, (id) => {
    const group = state.groups.membership(id)?.describe() ?? unknown;
    answer
      .int16(errors.none)
      .string(id)
      .string(group.state)
      .string(group.protocolType)
      .string(group.protocol);
    answer.array(group.members, (member) => {
      answer.string(member.id).string(member.clientId).string(member.clientHost);
      answer.bytes(member.metadata).bytes(member.assignment);
    });
  });
};

/** ListGroups 0–2. */
export const listGroups: Handler = async ({ state, version }, answer) => {
  if (version >= 1) answer.int32(noThrottle);
  answer.int16(errors.none).array(state.groups.ids(), (id) => {
    answer.string(id).string(state.groups.membership(id)?.describe().protocolType ?? "");
  });
};

/** DeleteGroups 0–1. */
export const deleteGroups: Handler = async ({ state, body }, answer) => {
  const groupIds = body.array(() => body.string());
  answer.int32(noThrottle);
  answer.array(groupIds, (id) => answer.string(id).int16(state.groups.delete(id)));
};
