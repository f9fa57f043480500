import { inspect } from "node:util";
import { describe } from "../support/errors.ts";
import type { Reading, SourceMessage } from "./job.ts";

/** Characters of a wrong reading that are shown. */
const MAX_SHOWN = 200;

/** The type checker holds a job to this, but not where its value is `any`, as all that comes of JSON.parse is. */
const isReading = (value: unknown): value is Reading<unknown> => {
  if (typeof value !== "object" || value === null || !("ok" in value)) return false;
  if (value.ok === true) return "id" in value && typeof value.id === "string" && "input" in value;
  if (value.ok !== false || !("reason" in value) || !("detail" in value)) return false;
  return typeof value.reason === "string" && typeof value.detail === "string";
};

/** What the job reads. A job that breaks its word, or throws, must not stop a partition with one message. */
export const readSafely = (
  read: (message: SourceMessage) => Reading<unknown>,
  message: SourceMessage,
): Reading<unknown> => {
  try {
    const reading: unknown = read(message);
    if (isReading(reading)) return reading;
    const expected = "{ ok: true, id: <text>, input } or { ok: false, reason: <text>, detail: <text> }";
    const got = inspect(reading, { depth: 1, breakLength: Number.POSITIVE_INFINITY }).slice(0, MAX_SHOWN);
    throw new TypeError(`expected the job to read a message as ${expected}, got ${got}`);
  } catch (error) {
    return { ok: false, reason: "read-failed", detail: describe(error) };
  }
};
