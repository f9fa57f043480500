import { promisify } from "node:util";
import { zstdCompress, zstdDecompress } from "node:zlib";
import kafkajs from "kafkajs";
import { compress, uncompress } from "snappyjs";

/** What kafkajs asks of a codec. Its encoder hands over the records in `buffer`. */
interface Codec {
  compress(encoder: { readonly buffer: Buffer }): Promise<Buffer>;
  decompress(buffer: Buffer): Promise<Buffer>;
}

const XERIAL_MAGIC = Buffer.from("\x82SNAPPY\0", "latin1");
/** Magic and two versions of four bytes. */
const XERIAL_HEADER_BYTES = 16;

/** The blocks in snappy-java's framing, which Java producers write: length, then a block, to the end. */
function* xerialBlocks(buffer: Buffer): Generator<Buffer> {
  for (let at = XERIAL_HEADER_BYTES; at < buffer.length; ) {
    const start = at + 4;
    at = start + buffer.readInt32BE(at);
    yield buffer.subarray(start, at);
  }
}

const snappy: Codec = {
  compress: async ({ buffer }) => compress(buffer),
  decompress: async (buffer) =>
    buffer.subarray(0, XERIAL_MAGIC.length).equals(XERIAL_MAGIC)
      ? Buffer.concat([...xerialBlocks(buffer)].map((block) => uncompress(block)))
      : uncompress(buffer),
};

const zstd: Codec = {
  compress: ({ buffer }) => promisify(zstdCompress)(buffer),
  decompress: (buffer) => promisify(zstdDecompress)(buffer),
};

const loadLz4 = async () => {
  try {
    return (await import("lz4-napi")).default;
  } catch (error) {
    // Another kind of error would have the consumer try the same batch again and again.
    const advice =
      "expected package lz4-napi, to read what is compressed with lz4: 'npm install lz4-napi' adds it";
    throw new kafkajs.KafkaJSNonRetriableError(new Error(advice, { cause: error }));
  }
};

const lz4: Codec = {
  compress: async ({ buffer }) => (await loadLz4()).compressFrame(buffer),
  decompress: async (buffer) => (await loadLz4()).decompressFrame(buffer),
};

let registered = false;

/** Teaches kafkajs 2.2.4, which knows gzip only, the other codecs that a producer may use. Once: it keeps them globally. */
export const registerCodecs = (): void => {
  if (registered) return;
  registered = true;
  const { CompressionCodecs, CompressionTypes } = kafkajs;
  CompressionCodecs[CompressionTypes.Snappy] = () => snappy;
  CompressionCodecs[CompressionTypes.LZ4] = () => lz4;
  CompressionCodecs[CompressionTypes.ZSTD] = () => zstd;
};
