import type { IHeaders } from "kafkajs";
import type { SourceMessage } from "./job.ts";
import type { TraceHeaders } from "./traces.ts";

/** Bytes as JSON: text where they are UTF-8, which is shorter, else base64. */
type PackedBytes = string | { readonly base64: string } | null;

/** A message as it came in, byte for byte. */
export interface PackedMessage {
  readonly key: PackedBytes;
  readonly value: PackedBytes;
  readonly headers?: readonly (readonly [name: string, ...values: PackedBytes[]])[];
}

/**
 * A message of more bytes than this is not kept with its execution, only where it stands in its topic: it would come
 * along each time the execution is resumed.
 */
export const MAX_KEPT_BYTES = 32 * 1024;

/** What an execution is started with. What stands in it stays so for the execution's whole life. */
export interface Envelope {
  /** The id the job read from the message. */
  readonly id: string;
  /** Where the message stands in its topic. */
  readonly partition: number;
  readonly offset: string;
  /** How often the message has come back from the dead-letter topic. */
  readonly redrives: number;
  /** Milliseconds since 1970 after which no further step is tried. */
  readonly deadline: number;
  /**
   * The message as it came in, `null` where it was too large to keep. Absent in an execution that continues another
   * one: the first one answers for the message.
   */
  readonly original?: PackedMessage | null;
  /** Leads to the span that dispatched the message, or else to the message's own trace. */
  readonly trace?: TraceHeaders | undefined;
  /** How often each step was called in the executions that this one continues. */
  readonly calls?: Readonly<Record<string, number>>;
  /** The workflow's arguments: the input, then its own. */
  readonly args: readonly unknown[];
}

const packBytes = (bytes: Buffer | string | null | undefined): PackedBytes => {
  if (bytes === null || bytes === undefined) return null;
  const buffer = Buffer.from(bytes);
  const text = buffer.toString("utf8");
  return Buffer.from(text, "utf8").equals(buffer) ? text : { base64: buffer.toString("base64") };
};

const unpackBytes = (packed: PackedBytes): Buffer | null => {
  if (packed === null) return null;
  return typeof packed === "string" ? Buffer.from(packed, "utf8") : Buffer.from(packed.base64, "base64");
};

const sizeOf = (bytes: Buffer | string | null | undefined) => (bytes ? Buffer.byteLength(bytes) : 0);

/** Packs a message, or gives `null` when it is larger than MAX_KEPT_BYTES. */
export const packMessage = ({ key, value, headers = {} }: SourceMessage): PackedMessage | null => {
  const named = Object.entries(headers).map(([name, one]) => [name, ...[one].flat()] as const);
  const bytes = named.flat().reduce((sum, one) => sum + sizeOf(one), sizeOf(key) + sizeOf(value));
  if (bytes > MAX_KEPT_BYTES) return null;
  return {
    key: packBytes(key),
    value: packBytes(value),
    ...(named.length === 0
      ? {}
      : { headers: named.map(([name, ...values]) => [name, ...values.map(packBytes)] as const) }),
  };
};

/** The message that was packed. */
export const unpackMessage = ({
  key,
  value,
  headers = [],
}: PackedMessage): SourceMessage & { headers: IHeaders } => ({
  key: unpackBytes(key),
  value: unpackBytes(value),
  headers: Object.fromEntries(
    headers.map(([name, ...values]) => {
      const all = values.map((one) => unpackBytes(one) ?? "");
      return [name, all.length === 1 && all[0] !== undefined ? all[0] : all];
    }),
  ),
});

/**
 * The envelope as one text: the SDK's own codec reads some strings of a JSON value back as numbers and some objects as
 * errors (codec.js of @resonatehq/sdk 0.11.5), but leaves a text as it is.
 *
 * @throws {TypeError} when the workflow's arguments have no JSON form
 */
export const encodeEnvelope = (envelope: Envelope): string => JSON.stringify(envelope);

/** The envelope that `encodeEnvelope` made. */
export const decodeEnvelope = (text: string): Envelope => JSON.parse(text);
