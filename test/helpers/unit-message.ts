import type { IHeaders, KafkaMessage } from "kafkajs";

/** A message as a consumer gets it. */
export const createMessage = (
  value: string | Buffer | null,
  { offset = "41", key = Buffer.from("key"), headers = {} }: Partial<MessageOptions> = {},
): KafkaMessage => ({
  key,
  value: typeof value === "string" ? Buffer.from(value) : value,
  headers,
  offset,
  timestamp: "0",
  attributes: 0,
});

interface MessageOptions {
  readonly offset: string;
  readonly key: Buffer | null;
  readonly headers: IHeaders;
}
