import assert from "node:assert/strict";
import { test } from "node:test";
import kafkajs from "kafkajs";
import { orOutage } from "../../src/kafka/errors.ts";
import { OutageError } from "../../src/support/errors.ts";

test("what a send resolves with is handed on", async () => {
  assert.equal(await orOutage(Promise.resolve("ack")), "ack");
});

const retries = { retryCount: 10, retryTime: 5000 };
const connection = () => new kafkajs.KafkaJSConnectionError("connect ECONNREFUSED");
const protocol = (code: number, retriable: boolean) =>
  new kafkajs.KafkaJSProtocolError(
    Object.assign(new Error("protocol"), { type: "X", code, retriable, helpUrl: "" }),
  );

test("a broker that is away is an outage, also once the client has given up its own retries", async () => {
  for (const away of [
    connection(),
    protocol(6, true),
    new kafkajs.KafkaJSNumberOfRetriesExceeded(connection(), retries),
    new kafkajs.KafkaJSNumberOfRetriesExceeded(protocol(6, true), retries),
  ]) {
    await assert.rejects(orOutage(Promise.reject(away)), (error) => {
      assert.ok(error instanceof OutageError, `expected an outage, got ${error}`);
      assert.deepEqual([error.code, error.canRetry, error.cause], ["OUTAGE", true, away]);
      return true;
    });
  }
});

test("what a broker refuses, and what is no matter of the broker, stays as it is", async () => {
  for (const refused of [
    protocol(10, false),
    new kafkajs.KafkaJSNonRetriableError("no such topic"),
    new TypeError("a bug"),
    "text",
    undefined,
  ]) {
    const rejected = await orOutage(Promise.reject(refused)).catch((error: unknown) => [error]);
    assert.deepEqual(rejected, [refused]);
  }
});
