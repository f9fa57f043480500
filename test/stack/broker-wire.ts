import { once } from "node:events";
import { connect } from "node:net";
import type { TestContext } from "node:test";
import { Reader, Writer } from "../../src/stack/broker/codec.ts";
import { afterwards } from "./contract.ts";

/** A record batch of magic 2 as kafkajs encodes it: one record, key and value an `a`, timestamp 0. */
export const sampleBatch = Buffer.from(
  "00000000000000000000003a00000000028abd287600000000000000000000000000000000000000000000ffffffffffffffff00000000000000000001100000000261026100",
  "hex",
);

/** A connection that speaks the protocol byte by byte, for what no client library would send. */
export const connectRaw = async (t: TestContext, port: number) => {
  const socket = connect({ port, host: "127.0.0.1" });
  afterwards(t, () => socket.destroy());
  socket.on("error", () => {}); // resets are what some of these tests are about; "close" follows
  await once(socket, "connect");

  const closed = once(socket, "close");
  const waiting: { correlationId: number; resolve: (body: Reader) => void }[] = [];
  let received = Buffer.alloc(0);
  let nextCorrelationId = 1;
  socket.on("data", (chunk) => {
    received = Buffer.concat([received, Buffer.from(chunk)]);
    while (received.length >= 4 && received.length >= 4 + received.readInt32BE(0)) {
      const end = 4 + received.readInt32BE(0);
      const answer = new Reader(received.subarray(4, end));
      received = received.subarray(end);
      const asked = waiting.shift();
      const correlationId = answer.int32();
      if (asked?.correlationId !== correlationId) throw new Error(`answer ${correlationId} out of order`);
      asked.resolve(answer);
    }
  });

  /** Sends one request. @returns the answer's body, which fails the test if it is not the next to arrive */
  const request = (key: number, version: number, writeBody: (body: Writer) => unknown): Promise<Reader> => {
    const { promise, resolve } = Promise.withResolvers<Reader>();
    const correlationId = nextCorrelationId++;
    const message = new Writer().int16(key).int16(version).int32(correlationId).string("raw");
    writeBody(message);
    waiting.push({ correlationId, resolve });
    socket.write(message.frame() ?? "");
    return promise;
  };

  return { socket, closed, request };
};

type Raw = Awaited<ReturnType<typeof connectRaw>>;

/** Metadata v1, which creates the topic. */
export const touchTopic = (raw: Raw, topic: string) =>
  raw.request(3, 1, (body) => body.array([topic], (name) => body.string(name)));

/** Produce v3 of one record set to partition 0. */
export const produceRaw = async (raw: Raw, topic: string, records: Buffer) => {
  const answer = await raw.request(0, 3, (body) =>
    body.string(null).int16(-1).int32(1000).int32(1).string(topic).int32(1).int32(0).bytes(records),
  );
  const [partition] = answer.array(() => {
    answer.string();
    return answer.array(() => ({ index: answer.int32(), error: answer.int16(), offset: answer.int64() }))[0];
  });
  return partition;
};

/** Fetch v4 of partition 0. */
export const fetchRaw = async (
  raw: Raw,
  topic: string,
  offset: bigint,
  maxWaitMs: number,
  maxBytes = 1_000_000,
) => {
  const answer = await raw.request(1, 4, (body) => {
    body.int32(-1).int32(maxWaitMs).int32(1).int32(maxBytes).int8(0);
    body.int32(1).string(topic).int32(1).int32(0).int64(offset).int32(maxBytes);
  });
  answer.int32(); // throttle
  answer.int32(); // topics
  answer.string();
  answer.int32(); // partitions
  answer.int32();
  const error = answer.int16();
  const endOffset = answer.int64();
  answer.int64();
  answer.array(() => [answer.int64(), answer.int64()]);
  return { error, endOffset, records: answer.bytes() };
};

/** JoinGroup v4 with one protocol. */
export const joinRaw = async (raw: Raw, group: string, memberId: string, protocol = "range") => {
  const answer = await raw.request(11, 4, (body) => {
    body.string(group).int32(5_000).int32(5_000).string(memberId).string("consumer");
    body.int32(1).string(protocol).bytes(Buffer.from(protocol));
  });
  answer.int32(); // throttle
  const error = answer.int16();
  const generation = answer.int32();
  const [chosen, leader, id] = [answer.string(), answer.string(), answer.string()];
  return {
    error,
    generation,
    protocol: chosen,
    leader,
    memberId: id,
    members: answer.array(() => [answer.string(), answer.bytes()]),
  };
};

/** Heartbeat v0. @returns the error code */
export const heartbeatRaw = async (raw: Raw, group: string, generation: number, memberId: string) =>
  (await raw.request(12, 0, (body) => body.string(group).int32(generation).string(memberId))).int16();

/** OffsetCommit v2 for partition 0. @returns the error code */
export const commitRaw = async (
  raw: Raw,
  group: string,
  generation: number,
  memberId: string,
  topic: string,
  offset: bigint,
) => {
  const answer = await raw.request(8, 2, (body) => {
    body.string(group).int32(generation).string(memberId).int64(-1n);
    body.int32(1).string(topic).int32(1).int32(0).int64(offset).string(null);
  });
  const [error] = answer.array(() => {
    answer.string();
    return answer.array(() => [answer.int32(), answer.int16()][1])[0];
  });
  return error;
};
