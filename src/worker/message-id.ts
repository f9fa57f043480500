/** Why an id cannot name an execution. Each is the `reason` header of a dead letter. */
export type BadId = "id-empty" | "id-too-long" | "id-control-character" | "id-colon" | "id-ill-formed";

const MAX_ID_CHARACTERS = 255;

/**
 * Checks that an id can name a durable execution: 1 to 255 characters (UTF-16 code units), no control character and
 * no ':'.
 *
 * @returns what is wrong, or `undefined`
 */
export const checkId = (id: string): { readonly reason: BadId; readonly detail: string } | undefined => {
  if (id === "") return { reason: "id-empty", detail: "expected an id, got an empty string" };
  if (id.length > MAX_ID_CHARACTERS) {
    return {
      reason: "id-too-long",
      detail: `expected at most ${MAX_ID_CHARACTERS} characters, got ${id.length}`,
    };
  }
  if (/\p{Cc}/u.test(id)) return { reason: "id-control-character", detail: "expected no control character" };
  // ':' separates a promise id from its children's: validateRootId in the SDK's ids.js.
  if (id.includes(":")) return { reason: "id-colon", detail: "expected no ':'" };
  // A lone surrogate has no UTF-8 form, so the server would refuse the request again and again.
  if (!id.isWellFormed()) return { reason: "id-ill-formed", detail: "expected well-formed Unicode" };
  return;
};
