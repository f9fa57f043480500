import { randomUUID } from "node:crypto";
import type { Kafka } from "kafkajs";
import { createProducer, ensureTopics } from "../../kafka/client.ts";
import type { Config } from "../../worker/settings.ts";
import { openRecords } from "./records.ts";

/** A record as it was seeded. */
export interface SeededRecord {
  readonly recordId: string;
  readonly rows: number;
  readonly partition: number;
  readonly offset: string;
}

export interface SeedOptions {
  readonly config: Config;
  readonly kafka: Kafka;
  /** How many records. */
  readonly count: number;
  /** A number from 0 up to, but not including, 1. */
  readonly random: () => number;
}

/** As many rows as a random number of batches takes: geometric, a chance of one in four to end after each. */
export const randomRows = (batchSize: number, random: () => number): number => {
  const fullBatches = Math.floor(Math.log(1 - random()) / Math.log(0.75));
  return fullBatches * batchSize + 1 + Math.floor(random() * batchSize);
};

/**
 * Makes `count` records with rows in the row store, then produces their ids, in that order, so that no worker
 * meets an id before its rows. Yields each record once the broker has acknowledged it.
 *
 * @throws {RecordStoreError}, or what kafkajs throws when the broker cannot be reached
 */
export async function* seed({ config, kafka, count, random }: SeedOptions): AsyncGenerator<SeededRecord> {
  const rowsByRecord = new Map<string, number>();
  for (let i = 0; i < count; i++) {
    rowsByRecord.set(randomUUID().replaceAll("-", ""), randomRows(config.BATCH_SIZE, random));
  }
  {
    using records = openRecords(config.RECORDS_DB, { worker: "seed", busyTimeoutMs: 30_000 });
    records.addRows(rowsByRecord);
  }

  await ensureTopics(kafka, config);
  const producer = createProducer(kafka);
  await producer.connect();
  try {
    for (const [recordId, rows] of rowsByRecord) {
      const messages = [{ key: recordId, value: JSON.stringify(recordId) }];
      const [ack] = await producer.send({ topic: config.TOPIC_TO_DELETE, acks: -1, messages });
      yield { recordId, rows, partition: ack?.partition ?? -1, offset: ack?.baseOffset ?? "?" };
    }
  } finally {
    await producer.disconnect();
  }
}
