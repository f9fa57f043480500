import type { Producer } from "kafkajs";
import { orOutage } from "../kafka/client.ts";
import type { StepTools } from "./job.ts";

/** Header of a completion: the same key twice is the same completion twice. */
export const IDEMPOTENCY_KEY_HEADER = "idempotency-key";

/**
 * Publishes completions to `topic`.
 *
 * @throws {OutageError} when the broker is away; what kafkajs throws when it refuses the message
 */
export const createPublish =
  (producer: Pick<Producer, "send">, topic: string): StepTools["publish"] =>
  async ({ idempotencyKey }, { key, value }) => {
    const headers = { [IDEMPOTENCY_KEY_HEADER]: idempotencyKey };
    await orOutage(producer.send({ topic, acks: -1, messages: [{ key, value, headers }] }));
  };
