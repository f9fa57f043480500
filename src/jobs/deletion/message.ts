import { toError } from "../../support/errors.ts";

/** Why a message names no record. Each is the `reason` header of a dead letter. */
export type BadInput =
  | "empty-value"
  | "invalid-utf8"
  | "invalid-json"
  | "unexpected-json-shape"
  | "record-id-empty"
  | "record-id-too-long"
  | "record-id-control-character"
  | "record-id-colon"
  | "record-id-ill-formed"
  | "record-id-reserved";

/** A record id, or the reason why there is none and what was expected. */
export type ParsedRecordId =
  | { readonly ok: true; readonly recordId: string }
  | { readonly ok: false; readonly reason: BadInput; readonly detail: string };

const MAX_RECORD_ID_CHARACTERS = 255;

const bad = (reason: BadInput, detail: string): ParsedRecordId => ({
  ok: false,
  reason,
  detail,
});

const checkBounds = (recordId: string): ParsedRecordId => {
  if (recordId === "") return bad("record-id-empty", "expected a record id, got an empty string");
  if (recordId.length > MAX_RECORD_ID_CHARACTERS) {
    return bad(
      "record-id-too-long",
      `expected at most ${MAX_RECORD_ID_CHARACTERS} characters, got ${recordId.length}`,
    );
  }
  if (/\p{Cc}/u.test(recordId)) return bad("record-id-control-character", "expected no control character");
  // ':' separates a promise id from its children's: validateRootId in the SDK's ids.js.
  if (recordId.includes(":")) return bad("record-id-colon", "expected no ':'");
  // A lone surrogate has no UTF-8 form, so the server would refuse the request again and again.
  if (!recordId.isWellFormed()) return bad("record-id-ill-formed", "expected well-formed Unicode");
  // The SDK's codec.js reads these two strings back as numbers, so they cannot be arguments.
  if (recordId === "__INF__" || recordId === "__NEG_INF__") {
    return bad(
      "record-id-reserved",
      `expected an id other than the SDK's encoding of infinity, got ${recordId}`,
    );
  }
  return { ok: true, recordId };
};

const decoder = new TextDecoder("utf-8", { fatal: true });

/**
 * Reads the record id from a message's value: a JSON string, a JSON array whose first element is one, or bare
 * text, trimmed. What begins with `"`, `[` or `{` is taken as JSON.
 *
 * An id has 1 to 255 characters (UTF-16 code units), no control character and no ':'. Never throws.
 */
export const parseRecordId = (value: Buffer | null): ParsedRecordId => {
  if (value === null || value.length === 0) return bad("empty-value", "expected a record id, got no value");
  let text: string;
  try {
    text = decoder.decode(value).trim();
  } catch {
    return bad("invalid-utf8", "expected UTF-8 text");
  }
  if (!/^["[{]/.test(text)) return checkBounds(text);
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (error) {
    // The message quotes the value, line breaks and terminal codes included.
    return bad("invalid-json", toError(error).message.replace(/\p{Cc}+/gu, " "));
  }
  const id: unknown = Array.isArray(json) ? json[0] : json;
  if (typeof id === "string") return checkBounds(id);
  return bad("unexpected-json-shape", "expected a JSON string, or an array whose first element is one");
};
