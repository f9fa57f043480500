import { randomUUID } from "node:crypto";
import type { RequestHead } from "@resonatehq/sdk";

/** The version of the protocol that @resonatehq/sdk 0.11.5 speaks (util.js), which it does not export. */
const PROTOCOL_VERSION = "2026-04-01";

/** The head of a request of our own. */
export const requestHead = (): RequestHead => ({ corrId: randomUUID(), version: PROTOCOL_VERSION });

/**
 * Begins the ids of promises that belong to no message: no message's id holds this character. `resonate promises get`
 * takes such an id as it is.
 */
export const INTERNAL_ID = "\u001f";

/** Begins the ids of promises by which a worker notices that it is still sent messages: see liveness.ts. */
export const PULSE_ID = `${INTERNAL_ID}pulse${INTERNAL_ID}`;

/** Tag of a promise that notes that an execution was handed back unharmed: the lease under which it was. */
export const HANDED_BACK_TAG = "handed-back-under-lease";
