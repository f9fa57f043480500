import kafkajs from "kafkajs";
import { AccessError } from "../support/access-error.ts";
import { explainTls } from "../support/tls.ts";

/** What a request needs, in words: such as "Write on topic deleted". */
export interface NeededRights {
  readonly topic?: string;
  readonly group?: string;
}

const TLS_NAMES = {
  address: "KAFKA_BROKERS",
  ca: "KAFKA_TLS_CAFILEPATH",
  cert: "KAFKA_TLS_CERTFILEPATH",
  enabled: "KAFKA_TLS_ENABLED",
};

/** The line for an error of the protocol that says "no" until somebody changes a setting or a right. */
const explainType = (type: string, rights: NeededRights): string | undefined => {
  switch (type) {
    case "TOPIC_AUTHORIZATION_FAILED":
      return `the broker refuses this user: expected the right ${rights.topic ?? "on the topic"}, got ${type}`;
    case "GROUP_AUTHORIZATION_FAILED":
      return `the broker refuses this user: expected the right ${rights.group ?? "on the group"}, got ${type}`;
    case "CLUSTER_AUTHORIZATION_FAILED":
      return `the broker refuses this user: expected the right ${rights.topic ?? "on the topic"}, or Create on the cluster, got ${type}`;
    case "UNSUPPORTED_SASL_MECHANISM":
      return `KAFKA_SASL_MECHANISM: expected one that the broker has, got ${type}`;
    case "ILLEGAL_SASL_STATE":
      return `KAFKA_SASL_MECHANISM: expected none, or another listener of the broker, got ${type}`;
    default:
      return;
  }
};

/**
 * The refusal in an error of kafkajs, if it is one, however deep: a password, certificate or right, by its setting or
 * name. Anything else, such as a broker that is away, gives `undefined`.
 */
export const findAccessError = (
  error: unknown,
  rights: NeededRights = {},
  depth = 0,
): AccessError | undefined => {
  // Causes may close a circle.
  if (!(error instanceof Error) || depth > 10) return;
  if (error instanceof AccessError) return error;
  const code = "code" in error && typeof error.code === "string" ? error.code : "";
  const line =
    (error instanceof kafkajs.KafkaJSProtocolError ? explainType(error.type, rights) : undefined) ??
    explainTls(code, TLS_NAMES);
  if (line !== undefined) return new AccessError(line);
  const inner = error instanceof kafkajs.KafkaJSAggregateError ? error.errors : [error.cause];
  for (const cause of inner) {
    const found = findAccessError(cause, rights, depth + 1);
    if (found) return found;
  }
  return;
};

/**
 * What `work` resolves with.
 *
 * @throws {AccessError} when the broker refuses this client
 * @throws what kafkajs throws, otherwise
 */
export const orAccessError = async <T>(work: Promise<T>, rights: NeededRights): Promise<T> => {
  try {
    return await work;
  } catch (error) {
    throw findAccessError(error, rights) ?? error;
  }
};
