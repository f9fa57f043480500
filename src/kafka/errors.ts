import kafkajs from "kafkajs";
import { AccessError } from "../support/access-error.ts";
import { OutageError } from "../support/errors.ts";

/** How kafkajs (2.2.4) gives up, as if no retry could help, when all connections are cut while it looks for a group. */
const COORDINATOR_NOT_FOUND = "KafkaJSGroupCoordinatorNotFound";

/**
 * Whether an error says that the broker is away, or that it does not let this client in, rather than that it does not
 * take what it is asked: also where kafkajs has given up its own retries, which it marks as not retriable.
 */
export const isOutage = (error: unknown): boolean => {
  if (error instanceof AccessError) return true;
  if (!(error instanceof kafkajs.KafkaJSError)) return false;
  if (error.retriable || error.name === COORDINATOR_NOT_FOUND) return true;
  const { cause } = error;
  return cause instanceof Error && cause !== error && isOutage(cause);
};

/** Kafka's errors 10 and 18: the one is about a message, the other about the batch it came in. */
const TOO_LARGE = new Set(["MESSAGE_TOO_LARGE", "RECORD_LIST_TOO_LARGE"]);

const TOPIC_GONE = new Set(["UNKNOWN_TOPIC_OR_PARTITION"]);

/** Whether an error of kafkajs, or what led to it, is one of these errors of Kafka. */
const isOneOf = (types: ReadonlySet<string>, error: unknown): boolean => {
  if (!(error instanceof kafkajs.KafkaJSError)) return false;
  const { cause } = error;
  if ("type" in error && typeof error.type === "string" && types.has(error.type)) return true;
  return cause instanceof Error && cause !== error && isOneOf(types, cause);
};

/**
 * What `send` resolves with.
 *
 * @throws {OutageError} when the broker is away, or refuses this client: somebody may let it in again
 * @throws what kafkajs throws, when the broker refuses the message
 */
export const orOutage = async <T>(send: Promise<T>): Promise<T> => {
  try {
    return await send;
  } catch (error) {
    if (!isOutage(error)) throw error;
    const away = isOneOf(TOPIC_GONE, error) ? "the topic is not there" : "the broker cannot be reached";
    const message = error instanceof AccessError ? error.message : away;
    throw new OutageError(message, { cause: error });
  }
};

/** Whether the broker refused a message because it is larger than its topic takes. */
export const isTooLarge = (error: unknown): boolean => isOneOf(TOO_LARGE, error);
