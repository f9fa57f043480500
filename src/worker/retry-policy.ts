import { OutageError } from "../support/errors.ts";

/** The longest pause between two tries of a step, in milliseconds. */
const MAX_RETRY_DELAY_MS = 30_000;

/** The longest pause between two tries in an outage, in milliseconds: it is over from one moment to the next. */
const MAX_OUTAGE_DELAY_MS = 5000;

const OUTAGE_PATIENCE_MS = 10_000;
const MAX_DOUBLINGS = 8;

/** How long a step waits after its failed try number `attempt`, from 1, in milliseconds: twice as long each time. */
export const pauseAfter = (error: Error, attempt: number, firstMs: number): number => {
  const maxMs = error instanceof OutageError ? MAX_OUTAGE_DELAY_MS : MAX_RETRY_DELAY_MS;
  return Math.min(firstMs * 2 ** (attempt - 1), maxMs);
};

/**
 * How long an outage may keep a step from its end before another worker is to try, in milliseconds: what is away here
 * may be there for others. It doubles each time an execution is handed back, so that an outage of a day leaves some
 * forty notes of that at the server, and not thousands.
 */
export const patienceInOutage = (handBacks: number): number =>
  OUTAGE_PATIENCE_MS * 2 ** Math.min(handBacks, MAX_DOUBLINGS);
