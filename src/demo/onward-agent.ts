import { Agent, type ClientRequest } from "node:http";

/** Connections of a proxy to its server: enough for requests that are answered at once. */
const MAX_CONNECTIONS = 16;

/** Longer than a worker waits for an answer, in milliseconds. */
const TIMEOUT_MS = 15_000;

/**
 * Connections over which a proxy passes requests on. They are few and kept: a burst that opened one for each request
 * would have them wait to be accepted, as a server in Node accepts one in each turn of its event loop, and a heartbeat
 * would wait behind all of them.
 */
export const createOnwardAgent = (): Agent =>
  new Agent({ keepAlive: true, maxSockets: MAX_CONNECTIONS, timeout: TIMEOUT_MS });

/** Ends a request that a server does not answer, which would keep its connection from all others. */
export const endUnanswered = (onward: ClientRequest): ClientRequest =>
  onward.on("timeout", () => onward.destroy(new Error(`no answer within ${TIMEOUT_MS} ms`)));
