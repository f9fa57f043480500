import type { IHeaders } from "kafkajs";

/**
 * The headers of a message that was read, such that they can be written. Works around kafkajs 2.2.4, whose reader
 * gives null for a header without a value, which its writer throws at, and for one that is named like a member of
 * `Object.prototype` puts that member before its values. Headers without a value become empty ones. Can go with a
 * release whose writer takes what its reader gives.
 */
export const writableHeaders = (headers: IHeaders | undefined): IHeaders =>
  Object.fromEntries(
    Object.entries(headers ?? {}).map(([name, value]) => {
      if (!Array.isArray(value)) return [name, value ?? ""];
      const own = value.map((one) => one ?? "");
      return [name, own.filter((one) => typeof one === "string" || Buffer.isBuffer(one))];
    }),
  );
