import type { Message, Producer, ProducerRecord } from "kafkajs";

/** What was sent, one entry a message. */
export interface Sent {
  readonly topic: string;
  readonly acks: number | undefined;
  readonly message: Message;
}

export interface FakeProducer extends Pick<Producer, "send"> {
  readonly sent: readonly Sent[];
  /** How often `send` was called, failures among them. */
  readonly calls: number;
}

/** A producer whose `send` first rejects with each of `failures`, then keeps what it is given. */
export const createFakeProducer = (failures: readonly Error[] = []): FakeProducer => {
  const sent: Sent[] = [];
  const queue = [...failures];
  let calls = 0;
  return {
    sent,
    get calls() {
      return calls;
    },
    send: async ({ topic, acks, messages }: ProducerRecord) => {
      calls += 1;
      const failure = queue.shift();
      if (failure) throw failure;
      for (const message of messages) sent.push({ topic, acks, message });
      return [{ topicName: topic, partition: 0, errorCode: 0, baseOffset: String(sent.length - 1) }];
    },
  };
};
