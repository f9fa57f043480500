import { Agent } from "node:http";

/** Connections of a proxy to its server: enough for requests that are answered at once. */
const MAX_CONNECTIONS = 16;

/**
 * Connections over which a proxy passes requests on. They are few and kept: a burst that opened one for each request
 * would have them wait to be accepted, as a server in Node accepts one in each turn of its event loop, and a heartbeat
 * would wait behind all of them.
 */
export const createOnwardAgent = (): Agent => new Agent({ keepAlive: true, maxSockets: MAX_CONNECTIONS });
