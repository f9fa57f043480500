/** Anything that was thrown, as an `Error`. The one place where `unknown` is given a type. */
export const toError = (thrown: unknown): Error =>
  thrown instanceof Error ? thrown : new Error(String(thrown), { cause: thrown });

/** An error's message with those of its causes, outermost first, on one line. */
export const describe = (thrown: unknown): string => {
  const messages: string[] = [];
  for (let error = thrown; error !== undefined && messages.length < 5; error = toError(error).cause) {
    const { message, name } = toError(error);
    const text = (message || name).replace(/\s*\n\s*/g, " ");
    if (!messages.some((earlier) => earlier.includes(text))) messages.push(text);
  }
  return messages.join(": ");
};
