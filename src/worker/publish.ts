import type { Message, Producer } from "kafkajs";
import { orOutage } from "../kafka/errors.ts";
import { createBatches } from "../support/batches.ts";
import { OutageError } from "../support/errors.ts";
import { doneWithin } from "../support/retry.ts";
import type { Completion, StepContext, StepTools } from "./job.ts";
import { tell } from "./telemetry.ts";

/** Header of a completion: the same key twice is the same completion twice. */
export const IDEMPOTENCY_KEY_HEADER = "idempotency-key";

/** A broker that has not acknowledged by then counts as away, in milliseconds: kafkajs goes on for minutes. */
const ACKNOWLEDGE_MS = 5000;

/** Completions of so many milliseconds are one produce request. */
const GATHER_MS = 5;

/**
 * Publishes completions to `topic`. The next try of one that was not acknowledged in time waits for the same send.
 *
 * @throws {OutageError} when the broker is away; what kafkajs throws when it refuses the message
 */
export const createPublish = (producer: Pick<Producer, "send">, topic: string): StepTools["publish"] => {
  let outageSince: number | undefined;
  const sending = new Map<string, Promise<unknown>>();
  const sendTogether = createBatches({
    run: async (messages: readonly Message[]) => {
      await orOutage(producer.send({ topic, acks: -1, messages: [...messages] }));
      return messages;
    },
    isOutage: (error) => error instanceof OutageError,
    gather: (run) => void setTimeout(run, GATHER_MS),
  });
  const send = async ({ idempotencyKey, trace }: StepContext, { key, value }: Completion) => {
    const headers = { ...trace, [IDEMPOTENCY_KEY_HEADER]: idempotencyKey };
    const what = JSON.stringify([idempotencyKey, key, value]);
    const sent = sending.getOrInsertComputed(what, () =>
      sendTogether({ key, value, headers }).finally(() => sending.delete(what)),
    );
    if (await doneWithin(sent, ACKNOWLEDGE_MS)) return;
    throw new OutageError(`expected the broker to acknowledge within ${ACKNOWLEDGE_MS} ms, got no answer`);
  };
  return async (step, completion) => {
    try {
      await send(step, completion);
      if (outageSince !== undefined)
        tell("outage.over", { system: "broker", ms: performance.now() - outageSince });
      outageSince = undefined;
      const { idempotencyKey: key, executionId, message } = step;
      tell("completion.published", { id: message.id, executionId, topic, key });
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
