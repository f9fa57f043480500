import { type ErrorCode, errors } from "./errors.ts";
import { PartitionLog } from "./log.ts";
import { defaultMaxMessageBytes } from "./record-batch.ts";

/** More would only be a mistake or a forged request: each partition takes memory. */
const maxPartitions = 10_000;
const validName = /^(?!\.{1,2}$)[a-zA-Z0-9._-]{1,249}$/;

/** The topics of the broker and the logs of their partitions. */
export class Topics {
  readonly #logs = new Map<string, readonly PartitionLog[]>();
  readonly #defaultPartitions: number;

  constructor(defaultPartitions: number) {
    this.#defaultPartitions = defaultPartitions;
  }

  names(): string[] {
    return [...this.#logs.keys()];
  }

  partitions(topic: string): readonly PartitionLog[] | undefined {
    return this.#logs.get(topic);
  }

  log(topic: string, partition: number): PartitionLog | undefined {
    return this.#logs.get(topic)?.[partition];
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
    if (this.#logs.has(topic)) return errors.topicAlreadyExists;
    if (length <= 0 || length > maxPartitions) return errors.invalidPartitions;
    if (!validateOnly)
      this.#logs.set(
        topic,
        Array.from({ length }, () => new PartitionLog(maxMessageBytes)),
      );
    return errors.none;
  }

  /** @returns 0 or 3 UNKNOWN_TOPIC_OR_PARTITION */
  delete(topic: string): ErrorCode {
    return this.#logs.delete(topic) ? errors.none : errors.unknownTopicOrPartition;
  }
}
