import assert from "node:assert/strict";
import { test } from "node:test";
import { Codec } from "@resonatehq/sdk";
import { decodeCall } from "../../src/resonate/call.ts";

const encode = (value: unknown) => new Codec().encode(value);

test("a call is read as the SDK writes it", () => {
  assert.deepEqual(decodeCall(encode({ func: "記録", args: ["a", { b: 1 }], version: 2 })), {
    func: "記録",
    version: 2,
    args: ["a", { b: 1 }],
  });
  assert.deepEqual(decodeCall(encode({ func: "f" })), { func: "f", version: 1, args: [] });
});

test("a promise that calls nothing, or holds nonsense, has no call", () => {
  const none = { func: "", version: 0, args: [] };
  for (const value of [undefined, {}, { data: "" }, { data: "%" }, { data: btoa("{") }]) {
    assert.deepEqual(decodeCall(value), none);
  }
  for (const value of [null, 7, "text", [], {}, { args: [] }])
    assert.deepEqual(decodeCall(encode(value)), none);
});
