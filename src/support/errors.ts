/** Anything that was thrown, as an `Error`. The one place where `unknown` is given a type. */
export const toError = (thrown: unknown): Error =>
  thrown instanceof Error ? thrown : new Error(String(thrown), { cause: thrown });

/** An error's message with those of its causes, outermost first, on one line. */
export const describe = (thrown: unknown): string => {
  const messages: string[] = [];
  let error: unknown = toError(thrown);
  // A cause may be no error, or close a circle.
  for (let depth = 0; error !== undefined && depth < 5; depth++) {
    const { message, name } = toError(error);
    const text = String(message || name).replace(/\s*\n\s*/g, " ");
    if (!messages.some((earlier) => earlier.includes(text))) messages.push(text);
    error = error instanceof Error ? error.cause : undefined;
  }
  return messages.join(": ");
};

/** Whether a retry can help: errors of this application say so themselves, of others nobody knows. */
export const canRetry = (error: unknown): boolean =>
  !(error instanceof Error && "canRetry" in error && error.canRetry === false);

/** Something that steps need is away. They are tried again for as long as it takes: nobody's attempt failed. */
export class OutageError extends Error {
  readonly code = "OUTAGE";
  readonly canRetry = true;
  override name = "OutageError";
}
