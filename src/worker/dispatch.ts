import type { IHeaders, KafkaMessage, Producer } from "kafkajs";
import { writableHeaders } from "../kafka/headers.ts";
import { INTERNAL_ID } from "../resonate/request.ts";
import { describe } from "../support/errors.ts";
import type { Log } from "../support/log.ts";
import { retryUntilDone, withTimeout } from "../support/retry.ts";
import type { Dispatch } from "./batch.ts";
import type { Begin, Begun } from "./begin.ts";
import { INVALID_REDRIVE_COUNT, REDRIVES_HEADER, reasonFor, sendLetter } from "./dead-letter.ts";
import { type Envelope, encodeEnvelope, packMessage } from "./envelope.ts";
import type { InFlight } from "./in-flight.ts";
import type { Reading, SourceMessage } from "./job.ts";
import { checkId } from "./message-id.ts";
import { readSafely } from "./reading.ts";
import { tell } from "./telemetry.ts";
import { currentTraceHeaders, inDispatchSpan, readTraceHeaders } from "./traces.ts";

/**
 * The SDK bounds one request to 10 s, but once it has found that an execution runs elsewhere it asks to be told of
 * its end without end (promiseRegisterListener).
 */
const BEGIN_TIMEOUT_MS = 15_000;
/** Between two lines about the same outage. */
const OUTAGE_LOG_INTERVAL_MS = 5000;

export interface DispatchOptions {
  readonly read: (message: SourceMessage) => Reading<unknown>;
  /** The name of the service whose messages these are. */
  readonly service: string;
  readonly begin: Begin;
  /** Messages wait here, in Kafka, while as many executions as may be are in flight. */
  readonly inFlight: InFlight;
  readonly producer: Pick<Producer, "send">;
  readonly topics: { readonly source: string; readonly deadLetters: string };
  readonly workflowTimeoutMs: number;
  /** Milliseconds since 1970. */
  readonly now: () => number;
  readonly log: Log;
}

/**
 * The durable promise id of a message's execution. A failed promise keeps its failure, so a message that is driven
 * again runs under another id: how often follows after a character that no id of a message holds.
 */
export const executionId = (id: string, redrives: number): string =>
  redrives === 0 ? id : `${id}${INTERNAL_ID}${redrives}`;

/** How often a message was driven again, or `undefined` when its header is not one this application wrote. */
const parseRedrives = (headers: IHeaders | undefined): number | undefined => {
  const header = headers?.[REDRIVES_HEADER];
  if (header === undefined) return 0;
  const text = String(header);
  return /^\d{1,9}$/.test(text) ? Number(text) : undefined;
};

/** The id for a message whose own id is taken by another service at the same server. */
export const qualifiedId = (promiseId: string, service: string): string => {
  const suffix = `${INTERNAL_ID}${encodeURIComponent(service)}`;
  return promiseId.endsWith(suffix) ? promiseId : `${promiseId}${suffix}`;
};

/** What to start an execution with. */
interface Planned {
  readonly ok: true;
  readonly envelope: Omit<Envelope, "deadline">;
}

/** What to start an execution with, or why there is none. */
type Plan = Planned | { readonly ok: false; readonly reason: string; readonly detail: string };

const plan = (read: DispatchOptions["read"], message: KafkaMessage, partition: number): Plan => {
  const reading = readSafely(read, message);
  if (!reading.ok) return reading;
  const { id, input } = reading;
  const bad = checkId(id);
  if (bad) return { ok: false, ...bad };
  const redrives = parseRedrives(message.headers);
  if (redrives === undefined) {
    const detail = `expected a whole number in header ${REDRIVES_HEADER}`;
    return { ok: false, reason: INVALID_REDRIVE_COUNT, detail };
  }
  const { offset } = message;
  const original = packMessage({ ...message, headers: writableHeaders(message.headers) });
  const envelope = { id, partition, offset, redrives, original, args: [input] };
  try {
    encodeEnvelope({ ...envelope, deadline: 0 });
  } catch (error) {
    return { ok: false, reason: "input-not-json", detail: describe(error) };
  }
  return { ok: true, envelope };
};

/** Makes the way of each message: to its execution, or to the dead-letter topic. */
export const createDispatch = (options: DispatchOptions): Dispatch => {
  const { read, service, begin, inFlight, producer, topics, workflowTimeoutMs, now, log } = options;
  let nextOutageLog = 0;

  return async (message, partition, signal) => {
    const takenUpAt = now();
    const { offset } = message;
    const place = { partition, offset };
    const at = `(partition=${partition}, offset=${offset})`;
    const persist = <T>(what: string, work: () => Promise<T>) =>
      retryUntilDone(work, {
        signal,
        onFailure: (error) => {
          if (now() < nextOutageLog) return;
          nextOutageLog = now() + OUTAGE_LOG_INTERVAL_MS;
          log.warn(place, `cannot ${what} ${at}, trying on: ${describe(error)}`);
        },
      });

    const toDeadLetters = async (reason: string, error: string) => {
      const { key, value } = message;
      const topic = topics.source;
      const letter = {
        key,
        value,
        headers: writableHeaders(message.headers),
        reason,
        error,
        topic,
        ...place,
      };
      await persist(`write to ${topics.deadLetters}`, () =>
        sendLetter(producer, topics.deadLetters, letter, new Date(now())),
      );
      tell("message.dead-letter", { topic, ...place, reason, error });
      log.warn({ ...place, reason }, `message goes to ${topics.deadLetters} ${at}: ${reason}: ${error}`);
    };

    const planned = plan(read, message, partition);
    if (!planned.ok) return toDeadLetters(planned.reason, planned.detail);
    const { envelope } = planned;
    const { id, redrives } = envelope;
    const traceHeaders = readTraceHeaders(message.headers);

    const start = async (promiseId: string): Promise<void> => {
      await inFlight.enter(promiseId, signal);
      let text = "";
      let begun: Begun;
      try {
        begun = await persist(`start an execution for ${id}`, () => {
          const deadline = now() + workflowTimeoutMs;
          text = encodeEnvelope({ ...envelope, trace: currentTraceHeaders(traceHeaders), deadline });
          return withTimeout(begin(promiseId, text), BEGIN_TIMEOUT_MS, "an execution");
        });
      } catch (error) {
        inFlight.leave(promiseId);
        if (signal.aborted) throw error;
        return toDeadLetters("start-refused", describe(error));
      }
      if (begun.outcome === "started" || begun.outcome === "running") inFlight.watch(promiseId, text, begun);
      else inFlight.leave(promiseId);

      const { outcome } = begun;
      const [ms, ageMs] = [now() - takenUpAt, now() - Number(message.timestamp)];
      if (outcome !== "taken")
        tell("message.dispatched", { topic: topics.source, ...place, id, outcome, ms, ageMs });
      const fields = { recordId: id, ...place };
      switch (outcome) {
        case "started":
          return log.info(fields, `kicked off workflow for record ${id} ${at}`);
        case "running":
          inFlight.mayEndElsewhere(promiseId);
          return log.info(fields, `record ${id} is at work already ${at}`);
        case "finished":
          return log.info(fields, `record ${id} was finished before ${at}`);
        case "failed":
          return toDeadLetters(reasonFor(begun.error), describe(begun.error));
        case "taken": {
          // Another service has a message with this id: both run, each under an id of its own.
          const own = qualifiedId(promiseId, service);
          if (begun.service !== undefined && promiseId !== own) return start(own);
          return toDeadLetters(
            "id-taken",
            `expected promise ${promiseId} to be free, got one of another program`,
          );
        }
      }
    };
    const own = executionId(id, redrives);
    const joined = { headers: traceHeaders, executionId: own };
    await inDispatchSpan({ id, topic: topics.source, ...place, ...joined }, () => start(own));
  };
};
