import kafkajs, { type Cluster, type PartitionAssigner } from "kafkajs";

const { MemberAssignment, MemberMetadata } = kafkajs.AssignerProtocol;

/** The partitions of `topic`, none when there is no such topic. Asked for anew: the leader may not read it itself. */
const findPartitions = async (cluster: Cluster, topic: string): Promise<number[]> => {
  const own = cluster.findTopicPartitionMetadata(topic);
  if (own.length > 0) return own.map(({ partitionId }) => partitionId);
  const [nodeId] = cluster.getNodeIds();
  const broker = await cluster.findBroker({ nodeId: String(nodeId) });
  const { topicMetadata } = await broker.metadata([topic]).catch(() => ({ topicMetadata: [] }));
  return topicMetadata.flatMap(({ partitionMetadata }) => partitionMetadata.map((one) => one.partitionId));
};

/**
 * kafkajs's round robin, but each member gets partitions of those topics only that it subscribes to; with equal
 * subscriptions the outcome is the same. The name and what goes over the wire are kafkajs's, so a group may have members
 * with either while a deployment rolls: whichever leads, assigns.
 */
export const roundRobinAmongSubscribers: PartitionAssigner = (config) => ({
  ...kafkajs.PartitionAssigners.roundRobin(config),
  assign: async ({ members, topics }) => {
    const subscribed = members
      .map(({ memberId, memberMetadata }) => ({
        memberId,
        topics: MemberMetadata.decode(memberMetadata)?.topics ?? topics,
      }))
      .sort((a, b) => (a.memberId < b.memberId ? -1 : 1));
    const assignments = new Map<string, Record<string, number[]>>();
    let turn = 0;
    for (const topic of new Set([...topics, ...subscribed.flatMap((member) => member.topics).sort()])) {
      const readers = subscribed.filter((member) => member.topics.includes(topic));
      for (const partition of readers.length > 0 ? await findPartitions(config.cluster, topic) : []) {
        const memberId = readers[turn++ % readers.length]?.memberId ?? "";
        const assignment = assignments.get(memberId) ?? Object.create(null);
        assignment[topic] = [...(assignment[topic] ?? []), partition];
        assignments.set(memberId, assignment);
      }
    }
    return [...assignments].map(([memberId, assignment]) => ({
      memberId,
      memberAssignment: MemberAssignment.encode({ version: 0, assignment, userData: Buffer.alloc(0) }),
    }));
  },
});
