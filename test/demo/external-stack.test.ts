import assert from "node:assert/strict";
import { test } from "node:test";
import { findExternalStack } from "../../src/demo/external-stack.ts";

test("a broker and a server that are both named, or neither", () => {
  const both = { KAFKA_BROKERS: "kafka:9092", RESONATE_URL: "http://resonate:8001" };
  assert.deepEqual(findExternalStack(both), {
    kafkaBrokers: both.KAFKA_BROKERS,
    resonateUrl: both.RESONATE_URL,
  });
  assert.equal(findExternalStack({ PATH: "/usr/bin" }), undefined);
});

for (const env of [
  { KAFKA_BROKERS: "kafka:9092" },
  { RESONATE_URL: "http://resonate:8001" },
  { KAFKA_BROKER: "kafka:9092" },
  { KAFKA_BROKER: "kafka:9092", RESONATE_URL: "http://resonate:8001" },
]) {
  const given = Object.keys(env).toSorted().join(" and ");
  test(`${given} alone: it is named, and nothing is started`, () => {
    assert.throws(() => findExternalStack(env), { name: "SettingsError" });
    for (const name of Object.keys(env)) assert.throws(() => findExternalStack(env), new RegExp(name));
  });
}
