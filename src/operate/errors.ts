import { visible } from "../support/visible.ts";

/** The server has no execution of a record. */
export class UnknownRecordError extends Error {
  readonly code = "UNKNOWN_RECORD";
  readonly canRetry = true;
  override name = "UnknownRecordError";
  constructor(id: string, service: string) {
    super(
      `no execution of record ${visible(id)} at ${service}: its message was not read yet, or it is among the dead letters (npm run status)`,
    );
  }
}

/** A record cannot be cancelled, because it has come to its end, or is about to. */
export class EndedRecordError extends Error {
  readonly code = "ENDED_RECORD";
  readonly canRetry = false;
  override name = "EndedRecordError";
  constructor(id: string, state: string) {
    super(`record ${visible(id)} is ${state} already: there is nothing to cancel`);
  }
}
