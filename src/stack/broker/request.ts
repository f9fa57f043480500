import type { Reader, Writer } from "./codec.ts";
import type { Groups } from "./groups.ts";
import type { Topics } from "./topics.ts";

/** What all connections share. */
export interface BrokerState {
  readonly topics: Topics;
  readonly groups: Groups;
  readonly autoCreateTopics: boolean;
  /** Where clients are told to connect: what the broker listens on. */
  advertised: { host: string; port: number };
  nextProducerId: bigint;
}

/** One request as an API handler sees it: the header read, the body not yet. */
interface Request {
  readonly state: BrokerState;
  readonly version: number;
  readonly clientId: string;
  readonly clientHost: string;
  readonly body: Reader;
  /** Aborts when the connection closes: nobody is left to wait for. */
  readonly closed: AbortSignal;
}

/**
 * Reads the whole request, then acts, then writes the answer's body: a request that turns out to be truncated has
 * changed nothing.
 */
export type Handler = (request: Request, answer: Writer) => Promise<void>;

/** One node; it leads every partition, coordinates every group and is the controller. */
export const nodeId = 1;
/** No quotas: clients are never asked to slow down. */
export const noThrottle = 0;
