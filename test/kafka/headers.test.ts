import assert from "node:assert/strict";
import { test } from "node:test";
import type { IHeaders } from "kafkajs";
import { writableHeaders } from "../../src/kafka/headers.ts";

test("headers that can be written stay as they are", () => {
  const headers = { text: "a", bytes: Buffer.from([0xff]), many: ["a", Buffer.from("b")] };
  assert.deepEqual(writableHeaders(headers), headers);
  assert.deepEqual(writableHeaders({}), {});
  assert.deepEqual(writableHeaders(undefined), {});
});

test("headers without a value become empty ones", () => {
  // As kafkajs reads them, against its types.
  const headers: IHeaders = JSON.parse('{"none": null, "many": [null, "a"]}');
  assert.deepEqual(writableHeaders({ ...headers, unset: undefined }), {
    none: "",
    many: ["", "a"],
    unset: "",
  });
});

test("a header named like a member of Object.prototype keeps its own values only", () => {
  const headers: IHeaders = {};
  for (const name of ["constructor", "toString"]) {
    Reflect.set(headers, name, [Reflect.get({}, name), Buffer.from("own")]);
  }
  assert.deepEqual(Object.entries(writableHeaders(headers)), [
    ["constructor", [Buffer.from("own")]],
    ["toString", [Buffer.from("own")]],
  ]);
});
