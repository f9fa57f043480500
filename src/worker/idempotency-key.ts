import { createHash } from "node:crypto";

/** What a key may be at most: what databases and payment services take. */
const MAX_KEY_CHARACTERS = 255;

/** One effect: the `call`-th call (from 0) of a step, for one message of a job. */
export interface EffectName {
  readonly job: string;
  readonly messageId: string;
  readonly step: string;
  readonly call: number;
}

/**
 * The idempotency key of an effect, such as `orders/4711/charge/0`: printable ASCII without spaces, at most 255
 * characters, a different one for each different effect. An id that is too long stands in it as its SHA-256, behind a
 * '=', which no encoded id holds.
 */
export const idempotencyKey = ({ job, messageId, step, call }: EffectName): string => {
  const keyOf = (id: string) => `${job}/${id}/${encodeURIComponent(step)}/${call}`;
  const key = keyOf(encodeURIComponent(messageId));
  if (key.length <= MAX_KEY_CHARACTERS) return key;
  return keyOf(`=${createHash("sha256").update(messageId).digest("base64url")}`);
};
