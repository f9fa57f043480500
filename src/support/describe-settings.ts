import type { Schema } from "./settings.ts";

/** The longest line of a description, in characters. */
const MAX_LINE = 110;

/** Text as comment lines, broken between words. */
const toComment = (text: string): string[] => {
  const lines = ["#"];
  for (const word of text.split(/\s+/)) {
    const longer = `${lines.at(-1)} ${word}`;
    if (longer.length <= MAX_LINE) lines[lines.length - 1] = longer;
    else lines.push(`# ${word}`);
  }
  return lines;
};

/**
 * Settings as the lines of a `.env` file: what each is about, then its name and default, which is left out where it
 * is secret.
 *
 * @param commented whether the settings themselves are comments, too
 */
export const describeSettings = (schema: Schema, { commented = false } = {}): string =>
  Object.entries(schema)
    .flatMap(([name, { about, fallback, secret }]) => {
      const line = `${name}=${secret ? "" : fallback}`;
      return [...toComment(about), commented ? `# ${line}` : line];
    })
    .join("\n");
