/**
 * A server refuses this client: a wrong password, token or certificate, or a right that is missing. `message` is one
 * line that names the setting or the right. At the start it ends the process; a worker at work tries on, since files
 * and rights can be changed while it runs.
 */
export class AccessError extends Error {
  readonly code = "ACCESS_DENIED";
  readonly canRetry = true;
  /** To kafkajs, whose own tries only keep the line from being seen. */
  readonly retriable = false;
  override name = "AccessError";
}
