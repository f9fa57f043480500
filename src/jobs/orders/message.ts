import { readJson } from "../../support/read-json.ts";
import type { Reading, SourceMessage } from "../../worker/job.ts";

/** What the workflow is started with. */
export type Order = {
  readonly orderId: string;
  /** Above 0. */
  readonly amount: number;
};

/** Reads `{"orderId": "…", "amount": 12.5}`. Never throws. */
export const readMessage = ({ value }: Pick<SourceMessage, "value">): Reading<Order> => {
  const read = readJson(value);
  if (!read.ok) return read;
  const { orderId, amount }: { orderId?: unknown; amount?: unknown } = Object(read.json);
  if (
    typeof orderId === "string" &&
    orderId !== "" &&
    typeof amount === "number" &&
    Number.isFinite(amount) &&
    amount > 0
  ) {
    return { ok: true, id: orderId, input: { orderId, amount } };
  }
  // A detail goes to a log: short, and without line breaks and terminal codes.
  const got = String(value)
    .slice(0, 100)
    .replace(/\p{Cc}+/gu, " ");
  const detail = `expected {"orderId": "…", "amount": 12.5}, the id not empty, the amount above 0, got ${got}`;
  return { ok: false, reason: "invalid-order", detail };
};
