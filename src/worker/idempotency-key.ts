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
 * characters, a different one for each different effect. One that would be longer is its SHA-256, behind a '=', which
 * begins no other key.
 */
export const idempotencyKey = ({ job, messageId, step, call }: EffectName): string => {
  const key = [job, messageId, step, String(call)].map(encodeURIComponent).join("/");
  return key.length <= MAX_KEY_CHARACTERS ? key : `=${createHash("sha256").update(key).digest("base64url")}`;
};
