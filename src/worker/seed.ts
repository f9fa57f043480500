import type { Kafka } from "kafkajs";
import { createProducer } from "../kafka/client.ts";
import { ensureTopics } from "../kafka/topics.ts";
import type { Schema, Settings } from "../support/settings.ts";
import type { SeedMessage } from "./job.ts";
import type { WorkerSettings } from "./settings.ts";

/** Where a message stands in its topic. */
export interface Place {
  readonly partition: number;
  readonly offset: string;
}

export interface SeedOptions<S extends Schema, M extends SeedMessage> {
  readonly job: {
    seed(options: {
      settings: Settings<S>;
      count: number;
      random: () => number;
    }): Iterable<M> | AsyncIterable<M>;
  };
  readonly settings: WorkerSettings & Settings<S>;
  readonly kafka: Kafka;
  /** How many messages. */
  readonly count: number;
  /** A number from 0 up to, but not including, 1. */
  readonly random: () => number;
}

/**
 * Makes a job's messages and produces them, in order. Yields each once the broker has acknowledged it.
 *
 * @throws what the job throws; what kafkajs throws when the broker cannot be reached
 */
export async function* seed<S extends Schema, M extends SeedMessage>(
  options: SeedOptions<S, M>,
): AsyncGenerator<M & Place> {
  const { job, settings, kafka, count, random } = options;
  const messages = job.seed({ settings, count, random });
  await ensureTopics(kafka, settings);
  const producer = createProducer(kafka);
  await producer.connect();
  try {
    for await (const message of messages) {
      const { key, value } = message;
      const [ack] = await producer.send({
        topic: settings.TOPIC_SOURCE,
        acks: -1,
        messages: [{ key, value }],
      });
      yield { ...message, partition: ack?.partition ?? -1, offset: ack?.baseOffset ?? "?" };
    }
  } finally {
    await producer.disconnect();
  }
}
