import type { Send } from "@resonatehq/sdk";
import type { Admin } from "kafkajs";
import type { TopicReader } from "../kafka/topic-reader.ts";
import type { Service } from "../worker/service.ts";
import type { WorkerSettings } from "../worker/settings.ts";
import {
  type Member,
  type PartitionStatus,
  readMembers,
  readPartitions,
  readRetention,
} from "./broker-status.ts";
import { type DeadLetters, readDeadLetters } from "./dead-letters.ts";
import { type Executions, readExecutions } from "./executions.ts";

/** How a service is doing. Times are ISO 8601, UTC, or in milliseconds. */
export interface Status extends Executions {
  readonly at: string;
  readonly service: string;
  readonly topic: string;
  readonly group: string;
  /** Nothing is unread, and nothing in flight. */
  readonly isDone: boolean;
  /** Messages that nobody has read yet, in all partitions. */
  readonly lag: number;
  readonly partitions: readonly PartitionStatus[];
  /** For how long the topic keeps a message; absent where the broker does not tell, or time removes none. */
  readonly retentionMs?: number;
  /** Partitions whose oldest unread message is about to be removed by the topic's retention. */
  readonly threatened: readonly number[];
  readonly members: readonly Member[];
  /** Messages in the completions topic. */
  readonly completions: number;
  readonly deadLetters: DeadLetters;
}

/** An unread message that is older than this part of its topic's retention is in danger. */
const MAX_SHARE_OF_RETENTION = 0.5;

export interface StatusSources {
  readonly settings: Pick<
    WorkerSettings,
    "KAFKA_GROUP_ID" | "TOPIC_SOURCE" | "TOPIC_COMPLETIONS" | "TOPIC_DEAD_LETTERS"
  >;
  readonly admin: Admin;
  readonly reader: TopicReader;
  readonly send: Send;
  readonly service: Service;
}

/** Finds out how a service is doing; `now` in milliseconds since 1970. @throws when broker or server do not answer */
export const readStatus = async (sources: StatusSources, now: number): Promise<Status> => {
  const { settings, admin, reader, send, service } = sources;
  const [topic, groupId] = [settings.TOPIC_SOURCE, settings.KAFKA_GROUP_ID];
  const [partitions, retentionMs, members, completed, deadLetters, executions] = await Promise.all([
    readPartitions(admin, reader, { groupId, topic, now }),
    readRetention(admin, topic),
    readMembers(admin, groupId, topic),
    reader.extents(settings.TOPIC_COMPLETIONS),
    readDeadLetters(reader, { deadLetters: settings.TOPIC_DEAD_LETTERS, source: topic }),
    readExecutions(send, service),
  ]);
  const lag = partitions.reduce((sum, own) => sum + own.lag, 0);
  const maxAge = (retentionMs ?? Number.POSITIVE_INFINITY) * MAX_SHARE_OF_RETENTION;
  return {
    at: new Date(now).toISOString(),
    service: service.name,
    topic,
    group: groupId,
    isDone: lag === 0 && executions.inFlight === 0,
    lag,
    partitions,
    ...(retentionMs !== undefined && { retentionMs }),
    threatened: partitions
      .filter(({ oldestUnread }) => (oldestUnread?.ageMs ?? 0) > maxAge)
      .map(({ partition }) => partition),
    members,
    ...executions,
    completions: [...completed.values()].reduce((sum, { start, end }) => sum + Number(end - start), 0),
    deadLetters,
  };
};
