import type { Value } from "@resonatehq/sdk";

/** The call that a promise stands for: a function by name, with its version and arguments. */
export interface Call {
  /** Empty where the promise calls nothing. */
  readonly func: string;
  readonly version: number;
  readonly args: readonly unknown[];
}

const NO_CALL: Call = { func: "", version: 0, args: [] };

/** Reads a promise's parameter, as the SDK's codec writes it: base64 of JSON. Never throws. */
export const decodeCall = (param: Value | undefined): Call => {
  try {
    const call: unknown = JSON.parse(Buffer.from(String(param?.data ?? ""), "base64").toString("utf8"));
    if (call === null || typeof call !== "object" || !("func" in call)) return NO_CALL;
    const version = "version" in call ? Number(call.version) : 1;
    return {
      func: String(call.func),
      version,
      args: "args" in call && Array.isArray(call.args) ? call.args : [],
    };
  } catch {
    return NO_CALL;
  }
};
