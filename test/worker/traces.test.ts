import assert from "node:assert/strict";
import { hash } from "node:crypto";
import { after, test } from "node:test";
import { setImmediate } from "node:timers/promises";
import { context, propagation, SpanKind, SpanStatusCode, trace } from "@opentelemetry/api";
import { InMemorySpanExporter, NodeTracerProvider, SimpleSpanProcessor } from "@opentelemetry/sdk-trace-node";
import {
  currentTraceHeaders,
  inDispatchSpan,
  inStepSpan,
  readTraceHeaders,
} from "../../src/worker/traces.ts";

const [TRACE, SPAN] = ["0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"];
const traceparent = `00-${TRACE}-${SPAN}-01`;
const step = {
  id: "m-1",
  step: "charge",
  key: "orders/m-1/charge/0",
  attempt: 2,
  worker: "1-ab",
  executionId: "m-1",
  headers: undefined,
};

test("without an SDK work is done as it is, and headers are passed on", async () => {
  assert.deepEqual(propagation.fields(), []);
  const headers = { traceparent };
  assert.equal(await inStepSpan({ ...step, headers }, async () => trace.getActiveSpan() ?? "none"), "none");
  assert.deepEqual(currentTraceHeaders(headers), headers);
  assert.equal(currentTraceHeaders(undefined), undefined);
  await assert.rejects(
    inStepSpan(step, () => Promise.reject(new Error("refused"))),
    /refused/,
  );
});

test("trace headers that are not valid are none", () => {
  for (const bad of [
    "",
    "nonsense",
    `00-${"0".repeat(32)}-${SPAN}-01`,
    `00-${TRACE}-${"0".repeat(16)}-01`,
    `${traceparent}\n`,
    traceparent.toUpperCase(),
  ])
    assert.equal(readTraceHeaders({ traceparent: bad, tracestate: "a=1" }), undefined, bad);
  assert.equal(readTraceHeaders({}), undefined);
  assert.equal(readTraceHeaders(undefined), undefined);
  assert.deepEqual(readTraceHeaders({ traceparent: Buffer.from(traceparent), tracestate: "a=1" }), {
    traceparent,
    tracestate: "a=1",
  });
  for (const bad of ["", "a\nb", "x".repeat(513)])
    assert.deepEqual(readTraceHeaders({ traceparent, tracestate: bad }), { traceparent }, bad);
});

const exporter = new InMemorySpanExporter();
const provider = new NodeTracerProvider({ spanProcessors: [new SimpleSpanProcessor(exporter)] });
const spans = () => {
  const finished = exporter.getFinishedSpans();
  exporter.reset();
  return finished;
};

after(async () => {
  await provider.shutdown();
  trace.disable();
  context.disable();
  propagation.disable();
});

test("a step is a span in the trace of its message, and what it calls joins that span", async () => {
  provider.register();
  const inner = await inStepSpan({ ...step, headers: { traceparent } }, async () => {
    await setImmediate();
    return currentTraceHeaders(undefined)?.traceparent;
  });
  const [span, ...others] = spans();
  assert.ok(span && others.length === 0);
  assert.equal(span.name, "charge");
  assert.deepEqual([span.spanContext().traceId, span.parentSpanContext?.spanId], [TRACE, SPAN]);
  assert.equal(inner, `00-${TRACE}-${span.spanContext().spanId}-01`);
  assert.deepEqual(span.attributes, {
    "record.id": "m-1",
    "step.idempotency_key": "orders/m-1/charge/0",
    "step.attempt": 2,
    "worker.name": "1-ab",
  });
});

test("a try that fails is a span with its error", async () => {
  const refused = new Error("refused", { cause: new Error("no money") });
  await assert.rejects(
    inStepSpan(step, () => Promise.reject(refused)),
    refused,
  );
  const [span] = spans();
  assert.deepEqual(span?.status, { code: SpanStatusCode.ERROR, message: "refused: no money" });
  assert.equal(span?.events[0]?.name, "exception");
});

test("without trace headers every worker derives the same trace, for each piece of an execution", async () => {
  for (const executionId of ["m-1", "m-1:d0f3", "m-2"])
    await inStepSpan({ ...step, executionId }, async () => {});
  const traces = spans().map((span) => span.spanContext().traceId);
  const derive = (id: string) => hash("sha256", id, "hex").slice(0, 32);
  assert.deepEqual(traces, [derive("m-1"), derive("m-1"), derive("m-2")]);
});

test("a dispatch is a span that says where the message stood", async () => {
  const place = { topic: "source", partition: 3, offset: "41" };
  await inDispatchSpan({ id: "m-1", executionId: "m-1", headers: undefined, ...place }, async () => {});
  const [span] = spans();
  assert.deepEqual([span?.name, span?.kind], ["dispatch", SpanKind.CONSUMER]);
  assert.deepEqual(span?.attributes, {
    "record.id": "m-1",
    "messaging.system": "kafka",
    "messaging.destination.name": "source",
    "messaging.destination.partition.id": "3",
    "messaging.kafka.offset": 41,
  });
});
