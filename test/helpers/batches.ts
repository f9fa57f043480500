import { once } from "node:events";
import { connect } from "node:net";
import kafkajs, { type CompressionTypes } from "kafkajs";
import { compress } from "snappyjs";
import { Writer } from "../../src/stack/broker/codec.ts";
import { crc32c } from "../../src/stack/broker/record-batch.ts";

/** Registers a codec that counts what it decompresses, around the one that is registered. */
export const countDecompressed = (
  type: CompressionTypes.GZIP | CompressionTypes.Snappy | CompressionTypes.LZ4 | CompressionTypes.ZSTD,
) => {
  const codec = kafkajs.CompressionCodecs[type]();
  const counted = { batches: 0 };
  kafkajs.CompressionCodecs[type] = () => ({
    compress: codec.compress,
    decompress: (buffer: Buffer) => {
      counted.batches += 1;
      return codec.decompress(buffer);
    },
  });
  return counted;
};

/** Records as a Java producer's snappy frames them: in blocks, behind a header. */
export const compressLikeJava = (records: Buffer): Buffer => {
  const blocks: Buffer[] = [];
  for (let at = 0; at < records.length; at += 100) {
    const block = compress(records.subarray(at, at + 100));
    const length = Buffer.alloc(4);
    length.writeInt32BE(block.length);
    blocks.push(length, block);
  }
  return Buffer.concat([Buffer.from("82534e41505059000000000100000001", "hex"), ...blocks]);
};

/** A batch of one control record, as a broker writes it when a transaction ends: magic 2, attributes 0x30. */
const controlBatch = (): Buffer => {
  const commit = Buffer.from("00000001", "hex");
  const marker = Buffer.from("000000000000", "hex");
  // Length, attributes, two deltas, key, value, no headers: lengths are zigzag varints.
  const fields = Buffer.concat([
    Buffer.from([0, 0, 0, commit.length * 2]),
    commit,
    Buffer.from([marker.length * 2]),
    marker,
    Buffer.from([0]),
  ]);
  const record = Buffer.concat([Buffer.from([fields.length * 2]), fields]);
  const body = Buffer.alloc(40);
  body.writeInt16BE(0x30, 0);
  body.writeBigInt64BE(BigInt(Date.now()), 6);
  body.writeBigInt64BE(BigInt(Date.now()), 14);
  body.writeBigInt64BE(1n, 22);
  body.writeInt32BE(-1, 32);
  body.writeInt32BE(1, 36);
  const checked = Buffer.concat([body, record]);
  const head = Buffer.alloc(21);
  head.writeInt32BE(9 + checked.length, 8);
  head.writeInt8(2, 16);
  head.writeUInt32BE(crc32c(checked), 17);
  return Buffer.concat([head, checked]);
};

/** Appends control records to a partition of the embedded broker, which writes none itself. */
export const produceControlRecords = async (
  port: number,
  { topic, partition, count }: { topic: string; partition: number; count: number },
): Promise<void> => {
  const socket = connect({ port, host: "127.0.0.1" });
  await once(socket, "connect");
  for (let i = 0; i < count; i++) {
    const request = new Writer()
      .int16(0)
      .int16(3)
      .int32(i)
      .string("control")
      .string(null)
      .int16(-1)
      .int32(1000);
    request.int32(1).string(topic).int32(1).int32(partition).bytes(controlBatch());
    socket.write(request.frame() ?? "");
    await once(socket, "data");
  }
  socket.destroy();
};
