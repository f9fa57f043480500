import { hash } from "node:crypto";
import {
  type Context,
  context,
  isSpanContextValid,
  propagation,
  ROOT_CONTEXT,
  SpanKind,
  type SpanOptions,
  SpanStatusCode,
  TraceFlags,
  trace,
} from "@opentelemetry/api";
import type { IHeaders } from "kafkajs";
import { describe, toError } from "../support/errors.ts";

/** The headers of W3C Trace Context: whoever receives them joins the trace. */
export interface TraceHeaders {
  readonly traceparent?: string;
  readonly tracestate?: string;
}

const TRACEPARENT = /^[\da-f]{2}-(?!0{32})[\da-f]{32}-(?!0{16})[\da-f]{16}-[\da-f]{2}$/;
const TRACESTATE = /^[\x20-\x7e]{1,512}$/;

/** The trace headers of a message, where they are valid. */
export const readTraceHeaders = (headers: IHeaders | undefined): TraceHeaders | undefined => {
  const [traceparent, tracestate] = [String(headers?.traceparent), String(headers?.tracestate ?? "")];
  if (!TRACEPARENT.test(traceparent)) return;
  return TRACESTATE.test(tracestate) ? { traceparent, tracestate } : { traceparent };
};

/** The headers that lead to the span that is active; `otherwise` where there is none. */
export const currentTraceHeaders = (otherwise: TraceHeaders | undefined): TraceHeaders | undefined => {
  const headers: TraceHeaders = {};
  propagation.inject(context.active(), headers);
  return headers.traceparent === undefined ? otherwise : headers;
};

/** The trace of a message that has none of its own: all workers derive the same from its execution's id. */
const deriveParent = (executionId: string): Context => {
  // Later pieces of a long execution have a part behind a ':'.
  const [root = executionId] = executionId.split(":", 1);
  const digest = hash("sha256", root, "hex");
  return trace.setSpanContext(ROOT_CONTEXT, {
    traceId: digest.slice(0, 32),
    spanId: digest.slice(32, 48),
    traceFlags: TraceFlags.SAMPLED,
    isRemote: true,
  });
};

/** The trace that a span is to join. */
interface Joined {
  readonly headers: TraceHeaders | undefined;
  /** Whose trace it is where there are no headers. */
  readonly executionId: string;
}

const tracer = trace.getTracer("kafka-worker");
let isLoaded = false;

/** Whether an SDK of OpenTelemetry is there to keep spans: without one none has an id. */
const hasSdk = (): boolean => {
  isLoaded ||= isSpanContextValid(tracer.startSpan("probe").spanContext());
  return isLoaded;
};

/**
 * Does `work` in a span, which is active meanwhile: what `work` calls joins it, which no listener of events could bring
 * about. There is no span until the process has loaded an SDK.
 */
const inSpan = async <R>(
  name: string,
  { headers = {}, executionId }: Joined,
  options: SpanOptions,
  work: () => Promise<R>,
): Promise<R> => {
  if (!hasSdk()) return work();
  const given = propagation.extract(ROOT_CONTEXT, headers);
  const parent = trace.getSpanContext(given) === undefined ? deriveParent(executionId) : given;
  return tracer.startActiveSpan(name, options, parent, async (span) => {
    try {
      return await work();
    } catch (error) {
      span.recordException(toError(error));
      span.setStatus({ code: SpanStatusCode.ERROR, message: describe(error) });
      throw error;
    } finally {
      span.end();
    }
  });
};

/** A message on its way to its execution. */
interface Dispatched extends Joined {
  readonly id: string;
  readonly topic: string;
  readonly partition: number;
  readonly offset: string;
}

/** Dispatches a message in a span of its own. */
export const inDispatchSpan = <R>(
  { id, topic, partition, offset, ...joined }: Dispatched,
  work: () => Promise<R>,
): Promise<R> =>
  inSpan(
    "dispatch",
    joined,
    {
      kind: SpanKind.CONSUMER,
      attributes: {
        "record.id": id,
        "messaging.system": "kafka",
        "messaging.destination.name": topic,
        "messaging.destination.partition.id": String(partition),
        "messaging.kafka.offset": Number(offset),
      },
    },
    work,
  );

/** A try of a step. */
interface Tried extends Joined {
  readonly id: string;
  readonly step: string;
  readonly key: string;
  readonly attempt: number;
  readonly worker: string;
}

/** Runs a step in a span of its own. */
export const inStepSpan = <R>(
  { id, step, key, attempt, worker, ...joined }: Tried,
  work: () => Promise<R>,
): Promise<R> =>
  inSpan(
    step,
    joined,
    {
      attributes: {
        "record.id": id,
        "step.idempotency_key": key,
        "step.attempt": attempt,
        "worker.name": worker,
      },
    },
    work,
  );
