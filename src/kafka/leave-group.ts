import type { KafkaConfig, Logger } from "kafkajs";
import Cluster from "kafkajs/src/cluster/index.js";

/** A member of a consumer group. */
export interface GroupMember {
  readonly groupId: string;
  readonly memberId: string;
}

/**
 * Leaves a consumer group in the name of a member that is dead: its partitions go to others now, and not after its
 * session timeout. kafkajs 2.2.4 has a call for it in its own code only.
 *
 * @throws what kafkajs throws, when the broker cannot be reached or does not know that member any more
 */
export const leaveGroup = async (
  config: KafkaConfig,
  logger: Logger,
  { groupId, memberId }: GroupMember,
): Promise<void> => {
  const cluster = new Cluster({ ...config, logger });
  try {
    await cluster.connect();
    const coordinator = await cluster.findGroupCoordinator({ groupId });
    await coordinator.leaveGroup({ groupId, memberId });
  } finally {
    await cluster.disconnect();
  }
};
