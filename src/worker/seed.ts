import type { Kafka } from "kafkajs";
import { orOutage } from "../kafka/errors.ts";
import { createProducer } from "../kafka/producer.ts";
import { ensureTopics } from "../kafka/topics.ts";
import { OutageError } from "../support/errors.ts";
import { retryUntilDone } from "../support/retry.ts";
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
  /** Ends it before all are made. */
  readonly signal?: AbortSignal;
}

/** The broker does not take a message. A retry cannot help. */
class NotTakenError extends Error {
  readonly code = "NOT_TAKEN";
  readonly canRetry = false;
  override name = "NotTakenError";
}

/**
 * Makes a job's messages and produces them, in order. Yields each once the broker has acknowledged it. Where
 * the broker is away in between, it waits: a message that was taken unseen is then there twice, and is worked on once.
 *
 * @throws the reason of `signal`; what the job throws; what kafkajs throws when the broker cannot be reached at the start
 * @throws {NotTakenError}
 */
export async function* seed<S extends Schema, M extends SeedMessage>(
  options: SeedOptions<S, M>,
): AsyncGenerator<M & Place> {
  const { job, settings, kafka, count, random, signal = new AbortController().signal } = options;
  const messages = job.seed({ settings, count, random });
  await ensureTopics(kafka, settings);
  const producer = createProducer(kafka);
  await producer.connect();
  try {
    for await (const message of messages) {
      const { key, value } = message;
      const send = async () => {
        try {
          return await orOutage(
            producer.send({ topic: settings.TOPIC_SOURCE, acks: -1, messages: [{ key, value }] }),
          );
        } catch (error) {
          if (error instanceof OutageError) throw error;
          throw new NotTakenError("the broker does not take a message", { cause: error });
        }
      };
      const [ack] = await retryUntilDone(send, { signal, onFailure: () => {} });
      yield { ...message, partition: ack?.partition ?? -1, offset: ack?.baseOffset ?? "?" };
    }
  } finally {
    await producer.disconnect();
  }
}
