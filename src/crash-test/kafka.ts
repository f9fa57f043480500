import type { IHeaders, KafkaMessage, Message, Producer } from "kafkajs";
import { HEADERS } from "../worker/dead-letter.ts";
import { toOriginal } from "../worker/original.ts";
import { IDEMPOTENCY_KEY_HEADER } from "../worker/publish.ts";
import type { Published, Scenario } from "./scenario.ts";

/** Kafka as far as one message goes: the three topics of its job. */
export interface Kafka {
  /** The message as it came in first. */
  readonly original: KafkaMessage;
  /** Messages of the source topic that no worker has taken charge of. */
  readonly waiting: KafkaMessage[];
  readonly published: readonly Published[];
  readonly producer: Pick<Producer, "send">;
  /** Dead letters that have not been redriven. */
  readonly letters: readonly KafkaMessage[];
  /** Sends all dead letters back, as `npm run redrive` does. */
  redrive(): void;
}

const toBuffer = (bytes: Buffer | string | null | undefined): Buffer | null =>
  bytes === null || bytes === undefined ? null : Buffer.from(bytes);

/** A header's values, as bytes. */
const valuesOf = (value: IHeaders[string]): Buffer[] => [value ?? ""].flat().map((one) => Buffer.from(one));

/** A message as a consumer gets it: all bytes. */
const received = ({ key, value, headers = {} }: Message, offset: number): KafkaMessage => ({
  key: toBuffer(key),
  value: toBuffer(value),
  headers: Object.fromEntries(
    Object.entries(headers).map(([name, value]) => {
      const [first = Buffer.alloc(0), ...more] = valuesOf(value);
      return [name, more.length === 0 ? first : [first, ...more]];
    }),
  ),
  offset: String(offset),
  timestamp: "0",
  attributes: 0,
});

/** Why the message of a dead letter failed. */
export const errorOf = ({ headers }: KafkaMessage): string => String(headers?.[HEADERS.error]);

/** What a dead letter has otherwise than the message that failed, if anything. */
export const findDifference = (letter: KafkaMessage, original: KafkaMessage): string | undefined => {
  const { key, value, headers = {} } = toOriginal(letter);
  const same = (a: KafkaMessage["key"] | string | undefined, b: KafkaMessage["key"]) =>
    String(toBuffer(a)?.toString("hex")) === String(b?.toString("hex"));
  if (!same(key, original.key)) return `key ${key}`;
  if (!same(value, original.value)) return `value ${value}`;
  const lost = Object.entries(original.headers ?? {}).find(
    ([name, own]) => String(valuesOf(headers[name])) !== String(valuesOf(own)),
  );
  return lost && `header ${lost[0]}: ${headers[lost[0]]}`;
};

export const createKafka = (
  { key, value, headers = {} }: Scenario<object>["message"],
  topicOfCompletions: string,
): Kafka => {
  let end = 0;
  const append = (message: Message) => received(message, end++);
  const original = append({ key: key ?? null, value, headers });
  const waiting = [original];
  const published: Published[] = [];
  let letters: KafkaMessage[] = [];
  return {
    original,
    waiting,
    published,
    get letters() {
      return letters;
    },
    producer: {
      send: async ({ topic, messages }) => {
        for (const message of messages) {
          const { key, value, headers } = received(message, 0);
          if (topic !== topicOfCompletions) letters.push(received(message, letters.length));
          else {
            const idempotencyKey = String(headers?.[IDEMPOTENCY_KEY_HEADER]);
            published.push({ key: String(key), value: String(value), idempotencyKey });
          }
        }
        return [];
      },
    },
    redrive: () => {
      waiting.push(...letters.map((letter) => append(toOriginal(letter))));
      letters = [];
    },
  };
};
