/** The most of a foreign text that reaches a log, in characters. */
const MAX_CHARACTERS = 1000;

/** Control characters, line separators and marks that change the direction of text. */
const UNSEEN = /[\p{Cc}\u2028\u2029\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/gu;

/** A text from outside as a log may show it: on one line, nothing hidden, cut to a sane length. */
export const visible = (text: string): string => {
  const shown = text.replace(
    UNSEEN,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
  return shown.length <= MAX_CHARACTERS
    ? shown
    : `${shown.slice(0, MAX_CHARACTERS)}… (${text.length} characters)`;
};
