import assert from "node:assert/strict";
import { test } from "node:test";
import kafkajs from "kafkajs";
import { compress } from "snappyjs";
import { registerCodecs } from "../../src/kafka/compression.ts";

registerCodecs();
const { CompressionCodecs, CompressionTypes } = kafkajs;
const text = Buffer.from("one record, another record, and one more record".repeat(100));

const codecs = [
  ["snappy", CompressionTypes.Snappy],
  ["lz4", CompressionTypes.LZ4],
  ["zstd", CompressionTypes.ZSTD],
] as const;

for (const [name, type] of codecs) {
  test(`codec ${name} gives back what it was given, in fewer bytes`, async () => {
    const codec = CompressionCodecs[type]();
    const compressed = await codec.compress({ buffer: text });
    assert.ok(compressed.length < text.length);
    assert.deepEqual(await codec.decompress(compressed), text);
  });

  test(`codec ${name} rejects what is not its own`, async () => {
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

/** 40 times "kafka ", framed by `lz4 -c` with these options. */
const frames = {
  "--no-frame-crc": "04224d18604082100000006f6b61666b61200600d25061666b612000000000",
  "-BD -BX": "04224d187440bd100000006f6b61666b61200600d25061666b61208b188b2100000000e1351a75",
  "--content-size": "04224d186c40f00000000000000009100000006f6b61666b61200600d25061666b612000000000e1351a75",
};

for (const [options, frame] of Object.entries(frames)) {
  test(`lz4 is read as others frame it: lz4 ${options}`, async () => {
    const codec = CompressionCodecs[CompressionTypes.LZ4]();
    assert.equal(String(await codec.decompress(Buffer.from(frame, "hex"))), "kafka ".repeat(40));
  });
}
