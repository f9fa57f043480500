import { randomUUID } from "node:crypto";
import type { Kafka } from "kafkajs";
import { STEP_ID_HEADER } from "../steps.ts";

/** One message of the completions topic. */
export interface Completion {
  readonly recordId: string;
  /** Of the message that asked for the deletion. */
  readonly offset: string;
  /** The same for repeats of one completion. */
  readonly stepId: string;
}

/** Reads the completions topic from its beginning into `completions`, as they come, until disposed of. */
export const watchCompletions = async (
  kafka: Kafka,
  topic: string,
): Promise<{ readonly completions: readonly Completion[] } & AsyncDisposable> => {
  const completions: Completion[] = [];
  const consumer = kafka.consumer({ groupId: `watch-${randomUUID()}`, maxWaitTimeInMs: 500 });
  await consumer.connect();
  await consumer.subscribe({ topic, fromBeginning: true });
  await consumer.run({
    autoCommit: false,
    eachMessage: async ({ message }) => {
      const [recordId, offset]: unknown[] = JSON.parse(String(message.value));
      const stepId = String(message.headers?.[STEP_ID_HEADER]);
      completions.push({ recordId: String(recordId), offset: String(offset), stepId });
    },
  });
  return { completions, [Symbol.asyncDispose]: () => consumer.disconnect() };
};
