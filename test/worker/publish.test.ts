import assert from "node:assert/strict";
import { test } from "node:test";
import kafkajs from "kafkajs";
import { OutageError } from "../../src/support/errors.ts";
import { createPublish, IDEMPOTENCY_KEY_HEADER } from "../../src/worker/publish.ts";
import { createFakeProducer } from "../helpers/unit-producer.ts";

const step = {
  idempotencyKey: "orders/4711/ship/0",
  step: "ship",
  executionId: "4711",
  attempt: 3,
  message: { id: "4711", partition: 1, offset: "41" },
};

test("a completion goes to its topic, acknowledged by all replicas, with the key of its effect", async () => {
  const producer = createFakeProducer();
  await createPublish(producer, "completions")(step, { key: "k", value: "v" });
  assert.deepEqual(producer.sent, [
    {
      topic: "completions",
      acks: -1,
      message: { key: "k", value: "v", headers: { "idempotency-key": "orders/4711/ship/0" } },
    },
  ]);
  assert.equal(IDEMPOTENCY_KEY_HEADER, "idempotency-key");
});

test("a completion leads to the trace that its step is in", async () => {
  const producer = createFakeProducer();
  const trace = { traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", tracestate: "a=1" };
  await createPublish(producer, "completions")({ ...step, trace }, { key: "k", value: "v" });
  assert.deepEqual(producer.sent[0]?.message.headers, { ...trace, "idempotency-key": step.idempotencyKey });
});

test("every try carries the same key, so a repeat can be recognised", async () => {
  const producer = createFakeProducer();
  const publish = createPublish(producer, "completions");
  for (const attempt of [1, 2]) await publish({ ...step, attempt }, { key: "k", value: "v" });
  assert.deepEqual(producer.sent[0], producer.sent[1]);
});

test("a broker that is away is an outage, one that refuses is a failure", async () => {
  const away = new kafkajs.KafkaJSConnectionError("ECONNREFUSED");
  const publish = createPublish(createFakeProducer([away]), "completions");
  await assert.rejects(publish(step, { key: "k", value: "v" }), (error) => {
    assert.ok(error instanceof OutageError);
    assert.equal(error.cause, away);
    return true;
  });
  const refused = new Error("message too large");
  await assert.rejects(
    createPublish(createFakeProducer([refused]), "completions")(step, { key: "k", value: "v" }),
    (error) => error === refused,
  );
});

test("completions of the same moment are one request; where it is refused each is sent alone", async () => {
  const refused = new Error("message too large");
  const producer = createFakeProducer([refused, refused]);
  const publish = createPublish(producer, "completions");
  const publishAll = () =>
    Promise.allSettled(
      ["a", "b", "c"].map((key) => publish({ ...step, idempotencyKey: key }, { key, value: "v" })),
    );
  const outcomes = await publishAll();
  assert.deepEqual(
    outcomes.map(({ status }) => status),
    ["rejected", "fulfilled", "fulfilled"],
  );
  assert.equal(producer.calls, 4);
  await publishAll();
  assert.equal(producer.calls, 5);
  assert.deepEqual(
    producer.sent.map(({ message }) => message.key),
    ["b", "c", "a", "b", "c"],
  );
});

test("an outage is told to all whose completions were in the request, and nothing is sent again", async () => {
  const producer = createFakeProducer([new kafkajs.KafkaJSConnectionError("ECONNREFUSED")]);
  const publish = createPublish(producer, "completions");
  const asked = ["a", "b"].map((key) => publish({ ...step, idempotencyKey: key }, { key, value: "v" }));
  for (const one of asked) await assert.rejects(one, OutageError);
  assert.equal(producer.calls, 1);
});
