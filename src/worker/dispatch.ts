import type { ResonateHandle } from "@resonatehq/sdk";
import type { IHeaders, Producer } from "kafkajs";
import { parseRecordId } from "../jobs/deletion/message.ts";
import type { RecordMessage } from "../jobs/deletion/workflow.ts";
import { writableHeaders } from "../kafka/client.ts";
import { describe } from "../support/errors.ts";
import type { Log } from "../support/log.ts";
import { retryUntilDone, withTimeout } from "../support/retry.ts";
import type { Dispatch } from "./consumer.ts";
import { ATTEMPT_HEADER, type DeadLetterReason, toDeadLetterMessage } from "./dead-letter.ts";
import type { InFlight } from "./in-flight.ts";

/**
 * The SDK bounds one request to 10 s, but once it has found that an execution runs elsewhere it asks to be told of
 * its end without end (promiseRegisterListener).
 */
const BEGIN_TIMEOUT_MS = 15_000;
/** Between two lines about the same outage. */
const OUTAGE_LOG_INTERVAL_MS = 5000;

export interface DispatchOptions {
  /** Starts the durable execution `id`, or finds that it exists. */
  readonly begin: (id: string, record: RecordMessage) => Promise<Pick<ResonateHandle<string>, "result">>;
  /** Messages wait here, in Kafka, while as many executions as may be are in flight. */
  readonly inFlight: InFlight;
  readonly producer: Pick<Producer, "send">;
  readonly topics: { readonly source: string; readonly deadLetters: string };
  readonly workflowTimeoutMs: number;
  readonly batchesPerSegment: number;
  /** Milliseconds since 1970. */
  readonly now: () => number;
  readonly log: Log;
}

/**
 * The durable promise id of a record's execution. A failed promise keeps its failure, so a record that is driven
 * again runs under another id: the attempt follows after a character that no record id holds.
 */
export const executionId = (recordId: string, attempt: number): string =>
  attempt === 0 ? recordId : `${recordId}\u001f${attempt}`;

/** The attempt a message stands for, or `undefined` when its header is not one this application wrote. */
const parseAttempt = (headers: IHeaders | undefined): number | undefined => {
  const header = headers?.[ATTEMPT_HEADER];
  if (header === undefined) return 0;
  const text = String(header);
  return /^\d{1,9}$/.test(text) ? Number(text) : undefined;
};

/** Makes the way of each message: to its execution, or to the dead-letter topic. */
export const createDispatch = (options: DispatchOptions): Dispatch => {
  const { begin, inFlight, producer, topics, workflowTimeoutMs, batchesPerSegment, now, log } = options;
  let nextOutageLog = 0;

  return async (message, partition, signal) => {
    const { offset } = message;
    const persist = <T>(what: string, work: () => Promise<T>) =>
      retryUntilDone(work, {
        signal,
        onFailure: (error) => {
          if (now() < nextOutageLog) return;
          nextOutageLog = now() + OUTAGE_LOG_INTERVAL_MS;
          log.warn(
            `cannot ${what} (partition=${partition}, offset=${offset}), trying on: ${describe(error)}`,
          );
        },
      });

    const toDeadLetters = async (reason: DeadLetterReason, error: string) => {
      const { key, value, headers } = message;
      const letter = {
        key,
        value,
        headers: writableHeaders(headers),
        reason,
        error,
        topic: topics.source,
        partition,
        offset,
      };
      const messages = [toDeadLetterMessage(letter, new Date(now()))];
      await persist(`write to ${topics.deadLetters}`, () =>
        producer.send({ topic: topics.deadLetters, acks: -1, messages }),
      );
      log.warn(
        `message goes to ${topics.deadLetters} (partition=${partition}, offset=${offset}): ${reason}: ${error}`,
      );
    };

    const parsed = parseRecordId(message.value);
    if (!parsed.ok) return toDeadLetters(parsed.reason, parsed.detail);
    const attempt = parseAttempt(message.headers);
    if (attempt === undefined) {
      return toDeadLetters("invalid-redrive-attempt", `expected a whole number in header ${ATTEMPT_HEADER}`);
    }

    const { recordId } = parsed;
    const deadline = now() + workflowTimeoutMs;
    const record = {
      recordId,
      partition,
      offset,
      attempt,
      deadline,
      batchesPerSegment,
    };
    const id = executionId(recordId, attempt);
    await inFlight.enter(id, signal);
    try {
      const handle = await persist(`start an execution for record ${recordId}`, () =>
        withTimeout(begin(id, record), BEGIN_TIMEOUT_MS, "an execution"),
      );
      inFlight.watch(id, () => handle.result());
    } catch (error) {
      inFlight.leave(id);
      throw error;
    }
    log.info(`kicked off workflow for record ${recordId} (partition=${partition}, offset=${offset})`);
  };
};
