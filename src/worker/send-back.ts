import kafkajs, { type KafkaMessage, type Message, type Producer } from "kafkajs";
import { isTooLarge, orOutage } from "../kafka/errors.ts";
import type { TopicReader } from "../kafka/topic-reader.ts";
import { findOriginal, placeOf, toOriginal } from "./original.ts";

const { GZIP, None } = kafkajs.CompressionTypes;

/** Letters that go back with one request, and what they may come to: half of what a topic takes by default. */
export const MAX_LETTERS = 500;
const MAX_BYTES = 512 * 1024;

/** Cuts letters, in order, into what goes back with one request. */
export function* inChunks(letters: readonly KafkaMessage[]): Generator<readonly KafkaMessage[]> {
  let chunk: KafkaMessage[] = [];
  let bytes = 0;
  for (const letter of letters) {
    const size = (letter.key?.length ?? 0) + (letter.value?.length ?? 0);
    if (chunk.length === MAX_LETTERS || (chunk.length > 0 && bytes + size > MAX_BYTES)) {
      yield chunk;
      chunk = [];
      bytes = 0;
    }
    chunk.push(letter);
    bytes += size;
  }
  if (chunk.length > 0) yield chunk;
}

/** A letter that cannot go back, and why. */
export interface Staying {
  readonly letter: KafkaMessage;
  readonly why: string;
}

/**
 * Sends the originals of `letters` to `topic`. Letters whose original is gone, or does not fit the topic even
 * compressed, stay.
 *
 * @returns those that stay
 * @throws {OutageError} when the broker is away; what kafkajs throws when it refuses a message for another reason
 */
export const sendBack = async (
  letters: readonly KafkaMessage[],
  { reader, producer, topic }: { reader: TopicReader; producer: Pick<Producer, "send">; topic: string },
): Promise<readonly Staying[]> => {
  const staying: Staying[] = [];
  const going: { letter: KafkaMessage; message: Message }[] = [];
  for (const letter of letters) {
    const found = await findOriginal(letter, reader);
    if (found) going.push({ letter, message: toOriginal(letter, found) });
    else staying.push({ letter, why: `its original is gone from ${placeOf(letter)}` });
  }

  /** Whether the messages are in the topic: not, when they are too large for it. */
  const send = async (messages: Message[], compression = None): Promise<boolean> => {
    try {
      await orOutage(producer.send({ topic, acks: -1, compression, messages }));
      return true;
    } catch (error) {
      if (isTooLarge(error)) return false;
      throw error;
    }
  };
  if (going.length === 0 || (await send(going.map(({ message }) => message)))) return staying;
  for (const { letter, message } of going) {
    // It may have come in compressed.
    if ((await send([message])) || (await send([message], GZIP))) continue;
    staying.push({ letter, why: `its original is larger than ${topic} takes` });
  }
  return staying;
};
