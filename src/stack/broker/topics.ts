import { type ErrorCode, errors } from "./errors.ts";
import { PartitionLog } from "./log.ts";
import { defaultMaxMessageBytes } from "./record-batch.ts";

/** More would only be a mistake or a forged request: each partition takes memory. */
const maxPartitions = 10_000;
const validName = /^(?!\.{1,2}$)[a-zA-Z0-9._-]{1,249}$/;

interface Topic {
  readonly logs: PartitionLog[];
  readonly maxMessageBytes: number;
}

/** The topics of the broker and the logs of their partitions. */
export class Topics {
  readonly #topics = new Map<string, Topic>();
  readonly #defaultPartitions: number;

  constructor(defaultPartitions: number) {
    this.#defaultPartitions = defaultPartitions;
  }

  names(): string[] {
    return [...this.#topics.keys()];
  }

  partitions(topic: string): readonly PartitionLog[] | undefined {
    return this.#topics.get(topic)?.logs;
  }

  log(topic: string, partition: number): PartitionLog | undefined {
    return this.#topics.get(topic)?.logs[partition];
  }

  /**
   * @param partitions -1 for the default
   * @param maxMessageBytes bound of a record batch
   * @param validateOnly checks and changes nothing
   * @returns 0, 17 INVALID_TOPIC, 36 TOPIC_ALREADY_EXISTS or 37 INVALID_PARTITIONS
   */
  create(
    topic: string,
    { partitions = -1, maxMessageBytes = defaultMaxMessageBytes, validateOnly = false } = {},
  ): ErrorCode {
    const length = partitions === -1 ? this.#defaultPartitions : partitions;
    if (!validName.test(topic)) return errors.invalidTopic;
    if (this.#topics.has(topic)) return errors.topicAlreadyExists;
    if (length <= 0 || length > maxPartitions) return errors.invalidPartitions;
    if (!validateOnly) {
      const logs = Array.from({ length }, () => new PartitionLog(maxMessageBytes));
      this.#topics.set(topic, { logs, maxMessageBytes });
    }
    return errors.none;
  }

  /**
   * Adds partitions, up to `count` in all.
   *
   * @returns 0, 3 UNKNOWN_TOPIC_OR_PARTITION or 37 INVALID_PARTITIONS
   */
  grow(topic: string, count: number, validateOnly: boolean): ErrorCode {
    const grown = this.#topics.get(topic);
    if (grown === undefined) return errors.unknownTopicOrPartition;
    const { logs, maxMessageBytes } = grown;
    if (count <= logs.length || count > maxPartitions) return errors.invalidPartitions;
    while (!validateOnly && logs.length < count) logs.push(new PartitionLog(maxMessageBytes));
    return errors.none;
  }

  /** @returns 0 or 3 UNKNOWN_TOPIC_OR_PARTITION */
  delete(topic: string): ErrorCode {
    return this.#topics.delete(topic) ? errors.none : errors.unknownTopicOrPartition;
  }
}
