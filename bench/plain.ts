import { setTimeout } from "node:timers/promises";
import { type Context, Resonate } from "@resonatehq/sdk";
import { Kafka, logLevel, type Producer } from "kafkajs";
import { openRecords } from "../src/jobs/deletion/open-records.ts";
import type { RecordStore } from "../src/jobs/deletion/records.ts";
import type { Log } from "../src/support/log.ts";
import type { Settings } from "./lab.ts";

export interface PlainEffects {
  readonly records: Pick<RecordStore, "deleteBatch">;
  readonly producer: Pick<Producer, "send">;
  readonly settings: Pick<
    Settings,
    "TOPIC_COMPLETIONS" | "BATCH_SIZE" | "BATCH_PAUSE_MS" | "SIMULATED_LATENCY_MS"
  >;
}

/** The straightforward workflow: a loop with `ctx.sleep`, every option the SDK's default. */
export const createPlainWorkflow = ({ records, producer, settings }: PlainEffects) => {
  const deleteBatch = async (ctx: Context, recordId: string, batch: number): Promise<boolean> => {
    if (settings.SIMULATED_LATENCY_MS > 0) await setTimeout(settings.SIMULATED_LATENCY_MS);
    const request = { key: ctx.id, recordId, batch, size: settings.BATCH_SIZE };
    return (await records.deleteBatch(request)).rowsRemain;
  };
  const enqueueCompletion = async (_: Context, recordId: string): Promise<void> => {
    await producer.send({
      topic: settings.TOPIC_COMPLETIONS,
      messages: [{ key: recordId, value: recordId }],
    });
  };
  return function* workflow(ctx: Context, recordId: string): Generator<unknown, void, unknown> {
    for (let batch = 0; yield* ctx.run(deleteBatch, recordId, batch); batch++) {
      yield* ctx.sleep(settings.BATCH_PAUSE_MS);
    }
    yield* ctx.run(enqueueCompletion, recordId);
  };
};

/**
 * The yardstick: the straightforward port of the pattern. `eachMessage` awaits `beginRun`, offsets commit by
 * themselves, everything else is as SDK and client have it.
 */
export const startPlain = async (settings: Settings, log: Log): Promise<void> => {
  const kafka = new Kafka({ brokers: [...settings.KAFKA_BROKERS], logLevel: logLevel.ERROR });
  const producer = kafka.producer();
  await producer.connect();
  const records = await openRecords(settings.RECORDS_DB, { worker: `plain-${process.pid}` });
  const resonate = new Resonate({ url: settings.RESONATE_URL });
  resonate.register("workflow", createPlainWorkflow({ records, producer, settings }));

  const consumer = kafka.consumer({ groupId: settings.KAFKA_GROUP_ID });
  await consumer.connect();
  await consumer.subscribe({ topic: settings.TOPIC_SOURCE, fromBeginning: true });
  await consumer.run({
    eachMessage: async ({ message }) => {
      const recordId = String(JSON.parse(String(message.value)));
      await resonate.beginRun(recordId, "workflow", recordId);
      log.info(`kicked off workflow for record ${recordId}`);
    },
  });
  log.info(`worker plain-${process.pid} is ready`);
};
