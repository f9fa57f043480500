import { type ErrorCode, errors } from "./errors.ts";

/** Where the fields of a magic-2 batch header stand, in bytes (https://kafka.apache.org/documentation/#recordbatch). */
const at = {
  baseOffset: 0,
  length: 8,
  leaderEpoch: 12,
  magic: 16,
  crc: 17,
  attributes: 21,
  lastOffsetDelta: 23,
};
const maxTimestampAt = 35;
const recordCountAt = 57;
const headerBytes = 61;
/** The length field does not count itself and the base offset before it. */
const uncountedBytes = 12;
/** Kafka's default `message.max.bytes`: 1 MiB and the overhead of a batch. */
export const defaultMaxMessageBytes = 1_048_588;

/** For CRC-32C (Castagnoli), a byte at a time; Node's `zlib.crc32` has another polynomial. */
const crcTable = Uint32Array.from({ length: 256 }, (_, index) => {
  let remainder = index;
  for (let bit = 0; bit < 8; bit++)
    remainder = remainder & 1 ? (remainder >>> 1) ^ 0x82f63b78 : remainder >>> 1;
  return remainder;
});

/** The checksum of a batch, over everything after itself. */
export const crc32c = (bytes: Buffer): number => {
  let crc = 0xffffffff;
  for (const byte of bytes) crc = (crc >>> 8) ^ (crcTable[(crc ^ byte) & 0xff] ?? 0);
  return (crc ^ 0xffffffff) >>> 0;
};

/**
 * What Kafka asks of a produced record set since Produce v3: exactly one whole batch of magic 2. The records
 * inside, compressed or not, are the clients' affair.
 *
 * @returns 0, 2 CORRUPT_MESSAGE (framing or checksum), 10 MESSAGE_TOO_LARGE or 87 INVALID_RECORD
 */
export const checkBatch = (batch: Buffer, maxBytes: number): ErrorCode => {
  if (batch.length > maxBytes) return errors.messageTooLarge;
  if (batch.length <= at.magic) return errors.corruptMessage;
  if (batch.readInt8(at.magic) !== 2) return errors.invalidRecord;
  if (batch.length < headerBytes) return errors.corruptMessage;
  const length = batch.readInt32BE(at.length) + uncountedBytes;
  if (length >= headerBytes && length < batch.length) return errors.invalidRecord; // more than one batch
  if (length !== batch.length) return errors.corruptMessage;
  if (crc32c(batch.subarray(at.attributes)) !== batch.readUInt32BE(at.crc)) return errors.corruptMessage;
  const records = batch.readInt32BE(recordCountAt);
  const offsets = batch.readInt32BE(at.lastOffsetDelta) + 1;
  return records > 0 && records === offsets ? errors.none : errors.invalidRecord;
};

/** A copy of a checked batch with the offsets the log gives it; its checksum starts after the fields rewritten here. */
export const placeBatch = (batch: Buffer, baseOffset: bigint) => {
  const bytes = Buffer.from(batch);
  bytes.writeBigInt64BE(baseOffset, at.baseOffset);
  bytes.writeInt32BE(0, at.leaderEpoch);
  const lastOffset = baseOffset + BigInt(bytes.readInt32BE(at.lastOffsetDelta));
  return {
    bytes,
    baseOffset,
    lastOffset,
    maxTimestamp: bytes.readBigInt64BE(maxTimestampAt),
  };
};
