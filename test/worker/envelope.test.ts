import assert from "node:assert/strict";
import { test } from "node:test";
import { Codec } from "@resonatehq/sdk";
import type { IHeaders } from "kafkajs";
import {
  decodeEnvelope,
  type Envelope,
  encodeEnvelope,
  MAX_KEPT_BYTES,
  packMessage,
  unpackMessage,
} from "../../src/worker/envelope.ts";
import type { SourceMessage } from "../../src/worker/job.ts";
import { createRandom, randomBelow } from "../helpers/unit-random.ts";

const envelope: Envelope = {
  id: "m-1",
  partition: 3,
  offset: "9007199254740993",
  redrives: 2,
  deadline: 1_800_000_000_000,
  args: [{ recordId: "m-1" }, 7],
};

/** Through everything an envelope passes on its way to a resumed execution. */
const throughServer = (sent: Envelope): Envelope => {
  const codec = new Codec();
  const [text] = codec.decode(codec.encode([encodeEnvelope(sent)]));
  return decodeEnvelope(text);
};

const roundTrip = (message: SourceMessage) => {
  const original = packMessage(message);
  assert.ok(original !== null);
  const back = throughServer({ ...envelope, original }).original;
  assert.ok(back);
  return unpackMessage(back);
};

/** Headers as a list of names and values in bytes: what is written is the same. */
const wire = (headers: IHeaders | undefined) =>
  Object.entries(headers ?? {}).map(([name, value]) => [
    name,
    ...[value ?? ""].flat().map((one) => Buffer.from(one).toString("hex")),
  ]);

const values: readonly (Buffer | null)[] = [
  null,
  Buffer.alloc(0),
  Buffer.from("text"),
  Buffer.from('記録 🙂 é \u0000 \u2028 " \\'),
  Buffer.from("\ufeffbyte order mark"),
  Buffer.from("\ufffd replacement character"),
  Buffer.from([0xff]),
  Buffer.from([0x61, 0xc3]),
  Buffer.from([0xed, 0xa0, 0x80]),
  Buffer.from([0xc0, 0x80]),
  Buffer.from(Array.from({ length: 256 }, (_, byte) => byte)),
  Buffer.from("__INF__"),
  Buffer.from('{"__type":"error","message":"x"}'),
  Buffer.from('{"base64":"AAAA"}'),
];

test("key and value come back byte for byte, also those that are no UTF-8, empty or absent", () => {
  for (const key of values) {
    for (const value of values) {
      const back = roundTrip({ key, value });
      assert.deepEqual([back.key, back.value, back.headers], [key, value, {}]);
    }
  }
});

test("headers come back byte for byte and in order, with duplicates, empty ones and odd names", () => {
  const headers: IHeaders = {
    trace: Buffer.from([0xff, 0]),
    text: "a",
    empty: "",
    none: [],
    many: ["a", Buffer.from([0xfe]), "a", ""],
    one: ["a"],
    "": "without a name",
    "記録 \u0000": Buffer.from("é"),
    constructor: "own",
    __INF__: "__INF__",
  };
  Object.defineProperty(headers, "__proto__", { value: "own", enumerable: true });
  assert.deepEqual(wire(roundTrip({ key: null, value: null, headers }).headers), wire(headers));
});

test("5,000 random messages come back byte for byte", () => {
  const random = createRandom(6);
  const bytes = () => {
    const length = randomBelow(random, 30);
    const text = random() < 0.5;
    return Buffer.from(Array.from({ length }, () => randomBelow(random, text ? 128 : 256)));
  };
  let binary = 0;
  for (let round = 0; round < 5000; round++) {
    const headers = Object.fromEntries(
      Array.from({ length: randomBelow(random, 4) }, (_, i) => [
        `h${i}`,
        random() < 0.5 ? bytes() : Array.from({ length: randomBelow(random, 4) }, bytes),
      ]),
    );
    const message = { key: random() < 0.2 ? null : bytes(), value: bytes(), headers };
    const back = roundTrip(message);
    assert.deepEqual([back.key, back.value, wire(back.headers)], [message.key, message.value, wire(headers)]);
    if (JSON.stringify(packMessage(message)).includes("base64")) binary += 1;
  }
  assert.ok(binary > 1000 && binary < 4900, `${binary} with bytes that are no text`);
});

test("text is kept as text, which is shorter than base64", () => {
  const value = Buffer.from("x".repeat(3000));
  assert.ok(JSON.stringify(packMessage({ key: null, value })).length < 3100);
});

test("a message of more than MAX_KEPT_BYTES is not kept: key, value, header names and values count", () => {
  const most = Buffer.alloc(MAX_KEPT_BYTES - 4, "x");
  const two = Buffer.from("kk");
  for (const message of [
    { key: null, value: Buffer.alloc(MAX_KEPT_BYTES) },
    { key: Buffer.alloc(MAX_KEPT_BYTES), value: null },
    { key: two, value: most, headers: { h: "1" } },
    { key: null, value: most, headers: { ab: ["1", Buffer.from("2")] } },
    { key: null, value: most, headers: { é: "é" } },
  ]) {
    assert.notEqual(packMessage(message), null, "what is not over the bound is kept");
    const value = Buffer.concat([message.value ?? Buffer.alloc(0), Buffer.from("x")]);
    assert.equal(packMessage({ ...message, value }), null);
  }
});

test("an envelope comes back as it went, whatever strings and objects its input holds", () => {
  const inputs = [
    "__INF__",
    "__NEG_INF__",
    { __type: "error", message: "x" },
    [{ __type: "aggregate_error", errors: [] }, "__INF__"],
    { recordId: "__INF__", deep: { amount: 12.5, list: [null, true, ""] } },
    "記録 🙂 \u2028",
    null,
    0,
  ];
  for (const input of inputs) {
    const sent = { ...envelope, calls: { charge: 2 }, original: null, args: [input, 5] };
    assert.deepEqual(throughServer(sent), sent);
  }
});

test("an input without a JSON form is refused", () => {
  assert.throws(() => encodeEnvelope({ ...envelope, args: [1n] }), TypeError);
});
