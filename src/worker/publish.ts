import type { Message, Producer } from "kafkajs";
import { orOutage } from "../kafka/client.ts";
import { OutageError } from "../support/errors.ts";
import { doneWithin } from "../support/retry.ts";
import { doTogether } from "../support/together.ts";
import type { StepContext, StepTools } from "./job.ts";
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
  const sendTogether = doTogether(
    async (messages: readonly Message[]) => {
      await orOutage(producer.send({ topic, acks: -1, messages: [...messages] }));
      return messages;
    },
    // One that the broker refuses must not fail the others. An outage is everybody's.
    { wait: (done) => void setTimeout(done, GATHER_MS), isOnes: (error) => !(error instanceof OutageError) },
  );
  const send = async (idempotencyKey: string, key: string | null, value: string) => {
    const headers = { [IDEMPOTENCY_KEY_HEADER]: idempotencyKey };
    const what = JSON.stringify([idempotencyKey, key, value]);
    const sent = sending.getOrInsertComputed(what, () =>
      sendTogether({ key, value, headers }).finally(() => sending.delete(what)),
    );
    if (await doneWithin(sent, ACKNOWLEDGE_MS)) return;
    throw new OutageError(`expected the broker to acknowledge within ${ACKNOWLEDGE_MS} ms, got no answer`);
  };
  return async ({ idempotencyKey, executionId, message: { id } }, { key, value }) => {
    try {
      await send(idempotencyKey, key, value);
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
