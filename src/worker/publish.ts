import type { Producer } from "kafkajs";
import { orOutage } from "../kafka/client.ts";
import { OutageError } from "../support/errors.ts";
import type { StepContext, StepTools } from "./job.ts";
import { tell } from "./telemetry.ts";

/** Header of a completion: the same key twice is the same completion twice. */
export const IDEMPOTENCY_KEY_HEADER = "idempotency-key";

/**
 * Publishes completions to `topic`.
 *
 * @throws {OutageError} when the broker is away; what kafkajs throws when it refuses the message
 */
export const createPublish = (producer: Pick<Producer, "send">, topic: string): StepTools["publish"] => {
  let outageSince: number | undefined;
  return async ({ idempotencyKey, executionId, message: { id } }, { key, value }) => {
    const headers = { [IDEMPOTENCY_KEY_HEADER]: idempotencyKey };
    try {
      await orOutage(producer.send({ topic, acks: -1, messages: [{ key, value, headers }] }));
      if (outageSince !== undefined)
        tell("outage.over", { system: "broker", ms: performance.now() - outageSince });
      outageSince = undefined;
      tell("completion.published", { id, executionId, topic, key: idempotencyKey });
    } catch (error) {
      if (error instanceof OutageError && outageSince === undefined) {
        outageSince = performance.now();
        tell("outage.begun", { system: "broker", error: error.message });
      }
      throw error;
    }
  };
};

/** Tells that a step's effect had taken place before. */
export const tellAnswered = ({
  idempotencyKey: key,
  attempt,
  message: { id },
  step,
  executionId,
}: StepContext): void => tell("step.answered", { id, executionId, step, key, attempt });
