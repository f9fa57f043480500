import { toError } from "./errors.ts";

/** Why a message's value cannot be read as text or JSON. */
export type Unreadable = {
  readonly ok: false;
  readonly reason: "empty-value" | "invalid-utf8" | "invalid-json";
  readonly detail: string;
};

const decoder = new TextDecoder("utf-8", { fatal: true });

/** Reads a message's value as text, trimmed. Never throws. */
export const readText = (value: Buffer | null): { readonly ok: true; readonly text: string } | Unreadable => {
  if (value === null || value.length === 0) {
    return { ok: false, reason: "empty-value", detail: "expected a value, got none" };
  }
  try {
    return { ok: true, text: decoder.decode(value).trim() };
  } catch {
    return { ok: false, reason: "invalid-utf8", detail: "expected UTF-8 text" };
  }
};

/** Reads a message's value as JSON. Never throws. */
export const readJson = (
  value: Buffer | null,
): { readonly ok: true; readonly json: unknown } | Unreadable => {
  const read = readText(value);
  if (!read.ok) return read;
  try {
    return { ok: true, json: JSON.parse(read.text) };
  } catch (error) {
    // The message quotes the value, line breaks and terminal codes included.
    const detail = toError(error).message.replace(/\p{Cc}+/gu, " ");
    return { ok: false, reason: "invalid-json", detail };
  }
};
