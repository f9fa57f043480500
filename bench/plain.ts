import { setTimeout } from "node:timers/promises";
import { type Context, Resonate } from "@resonatehq/sdk";
import { Kafka, logLevel, type Producer } from "kafkajs";
import { openRecords, type RecordStore } from "../src/jobs/deletion/records.ts";
import type { Log } from "../src/support/log.ts";
import type { Config } from "../src/worker/settings.ts";

export interface PlainEffects {
  readonly records: Pick<RecordStore, "deleteBatch">;
  readonly producer: Pick<Producer, "send">;
  readonly config: Pick<Config, "TOPIC_COMPLETIONS" | "BATCH_SIZE" | "BATCH_PAUSE_MS" | "SIMULATED_LATENCY_MS">;
}

/** The straightforward workflow: a loop with `ctx.sleep`, every option the SDK's default. */
export const createPlainWorkflow = ({ records, producer, config }: PlainEffects) => {
  const deleteBatch = async (ctx: Context, recordId: string, batch: number): Promise<boolean> => {
    if (config.SIMULATED_LATENCY_MS > 0) await setTimeout(config.SIMULATED_LATENCY_MS);
    return records.deleteBatch({ stepId: ctx.id, recordId, batch, size: config.BATCH_SIZE }).rowsRemain;
  };
  const enqueueCompletion = async (_: Context, recordId: string): Promise<void> => {
    await producer.send({ topic: config.TOPIC_COMPLETIONS, messages: [{ key: recordId, value: recordId }] });
  };
  return function* workflow(ctx: Context, recordId: string): Generator<unknown, void, unknown> {
    for (let batch = 0; yield* ctx.run(deleteBatch, recordId, batch); batch++) {
      yield* ctx.sleep(config.BATCH_PAUSE_MS);
    }
    yield* ctx.run(enqueueCompletion, recordId);
  };
};

/**
 * The yardstick: the straightforward port of the pattern. `eachMessage` awaits `beginRun`, offsets commit by
 * themselves, everything else is as SDK and client have it.
 */
export const startPlain = async (config: Config, log: Log): Promise<void> => {
  const kafka = new Kafka({ brokers: [...config.KAFKA_BROKERS], logLevel: logLevel.ERROR });
  const producer = kafka.producer();
  await producer.connect();
  const records = openRecords(config.RECORDS_DB, { worker: `plain-${process.pid}` });
  const resonate = new Resonate({ url: config.RESONATE_URL });
  resonate.register("workflow", createPlainWorkflow({ records, producer, config }));

  const consumer = kafka.consumer({ groupId: config.KAFKA_GROUP_ID });
  await consumer.connect();
  await consumer.subscribe({ topic: config.TOPIC_SOURCE, fromBeginning: true });
  await consumer.run({
    eachMessage: async ({ message }) => {
      const recordId = String(JSON.parse(String(message.value)));
      await resonate.beginRun(recordId, "workflow", recordId);
      log.info(`kicked off workflow for record ${recordId}`);
    },
  });
  log.info(`worker plain-${process.pid} is ready`);
};
