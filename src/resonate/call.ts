import { Codec, type Value } from "@resonatehq/sdk";

/** The call that a promise stands for: a function by name, with its version and arguments. */
export interface Call {
  /** Empty where the promise calls nothing. */
  readonly func: string;
  readonly version: number;
  readonly args: readonly unknown[];
}

const NO_CALL: Call = { func: "", version: 0, args: [] };

const codec = new Codec();
const decoder = new TextDecoder();
/** What the SDK's codec reads in its own way. */
const SPECIAL = /__type|__INF__|__NEG_INF__/;

/**
 * Decodes what the SDK's codec has encoded, and fails where it does. The codec (codec.js of 0.11.5) turns base64 into
 * bytes one by one, which was a tenth of what the start of an execution costs. Can go once it does not.
 *
 * @throws what the codec throws, {DOMException} or {SyntaxError}
 */
export const decodeValue = (value: Value | undefined): unknown => {
  if (!value?.data) return undefined;
  const text = decoder.decode(Buffer.from(atob(value.data), "latin1"));
  return SPECIAL.test(text) ? codec.decode(value) : JSON.parse(text);
};

/** Reads the call that a promise's parameter holds. Never throws. */
export const decodeCall = (param: Value | undefined): Call => {
  try {
    const call = decodeValue(param);
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
