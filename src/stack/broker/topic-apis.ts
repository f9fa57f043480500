import { errors } from "./errors.ts";
import type { PartitionLog } from "./log.ts";
import { defaultMaxMessageBytes } from "./record-batch.ts";
import { type Handler, nodeId, noThrottle } from "./request.ts";

/** Metadata 1–6. Topics asked for by name come into being, if the broker and (from v4 on) the client allow it. */
export const metadata: Handler = async ({ state, version, body }, answer) => {
  const asked = body.nullableArray(() => body.string());
  const autoCreate = (version < 4 || body.boolean()) && state.autoCreateTopics;
  const { topics, advertised } = state;
  const described = (asked ?? topics.names()).map((name) => {
    const created = autoCreate && topics.partitions(name) === undefined ? topics.create(name) : errors.none;
    const partitions = topics.partitions(name);
    const missing = created === errors.none ? errors.unknownTopicOrPartition : created;
    return {
      name,
      error: partitions === undefined ? missing : errors.none,
      partitions: partitions ?? [],
    };
  });

  const writePartition = (partition: number) => {
    answer.int16(errors.none).int32(partition).int32(nodeId);
    answer.array([nodeId], (replica) => answer.int32(replica));
    answer.array([nodeId], (inSync) => answer.int32(inSync));
    if (version >= 5) answer.array([], () => {}); // offline replicas
  };
  if (version >= 3) answer.int32(noThrottle);
  answer.array([advertised], ({ host, port }) => answer.int32(nodeId).string(host).int32(port).string(null));
  if (version >= 2) answer.string("embedded"); // cluster id
  answer.int32(nodeId); // controller
  answer.array(described, ({ name, error, partitions }) => {
    answer.int16(error).string(name).boolean(false); // not an internal topic
    answer.array([...partitions.keys()], writePartition);
  });
};

/** CreateTopics 2–3. Of the configuration, max.message.bytes counts; the replication factor does not. */
export const createTopics: Handler = async ({ state, body }, answer) => {
  const wanted = body.array(() => {
    const name = body.string();
    const partitions = body.int32();
    body.int16(); // replication factor
    const assigned = body.array(() => [body.int32(), body.array(() => body.int32())]);
    const config = new Map(body.array(() => [body.string(), body.nullableString()] as const));
    return {
      name,
      partitions: assigned.length > 0 ? assigned.length : partitions,
      maxMessageBytes: Number(config.get("max.message.bytes") ?? defaultMaxMessageBytes),
    };
  });
  body.int32(); // timeout
  const validateOnly = body.boolean();
  const created = wanted.map(({ name, ...options }) => {
    return { name, error: state.topics.create(name, { ...options, validateOnly }) };
  });
  answer.int32(noThrottle).array(created, ({ name, error }) => answer.string(name).int16(error).string(null));
};

/** CreatePartitions 0–1. On which brokers they are to be does not count: there is one. */
export const createPartitions: Handler = async ({ state, body }, answer) => {
  const wanted = body.array(() => {
    const name = body.string();
    const count = body.int32();
    body.nullableArray(() => body.array(() => body.int32()));
    return { name, count };
  });
  body.int32(); // timeout
  const validateOnly = body.boolean();
  const grown = wanted.map(({ name, count }) => ({
    name,
    error: state.topics.grow(name, count, validateOnly),
  }));
  answer.int32(noThrottle).array(grown, ({ name, error }) => answer.string(name).int16(error).string(null));
};

/** DeleteTopics 1. */
export const deleteTopics: Handler = async ({ state, body }, answer) => {
  const names = body.array(() => body.string());
  body.int32(); // timeout
  const deleted = names.map((name) => ({
    name,
    error: state.topics.delete(name),
  }));
  for (const { name } of deleted) state.groups.forgetTopic(name);
  answer.int32(noThrottle).array(deleted, ({ name, error }) => answer.string(name).int16(error));
};

/** ListOffsets 1–3. Timestamps of -1 and -2 stand for the end and the start of the log. */
export const listOffsets: Handler = async ({ state, version, body }, answer) => {
  body.int32(); // replica id
  if (version >= 2) body.int8(); // isolation level
  const wanted = body.array(() => {
    const topic = body.string();
    return {
      topic,
      partitions: body.array(() => ({
        partition: body.int32(),
        timestamp: body.int64(),
      })),
    };
  });
  if (version >= 2) answer.int32(noThrottle);
  answer.array(wanted, ({ topic, partitions }) => {
    answer.string(topic).array(partitions, ({ partition, timestamp }) => {
      const log = state.topics.log(topic, partition);
      const found = log && locate(log, timestamp);
      answer.int32(partition).int16(log ? errors.none : errors.unknownTopicOrPartition);
      answer.int64(found?.timestamp ?? -1n).int64(found?.offset ?? -1n);
    });
  });
};

const locate = (log: PartitionLog, timestamp: bigint) => {
  if (timestamp === -1n) return { offset: log.endOffset, timestamp: -1n };
  if (timestamp === -2n) return { offset: 0n, timestamp: -1n };
  return log.findTimestamp(timestamp);
};
