import { randomUUID } from "node:crypto";
import { Resonate } from "@resonatehq/sdk";
import { logLevel } from "kafkajs";
import { openRecords } from "../jobs/deletion/records.ts";
import { createSteps } from "../jobs/deletion/steps.ts";
import { createWorkflow } from "../jobs/deletion/workflow.ts";
import { createKafka, createProducer, ensureTopics } from "../kafka/client.ts";
import { connectLeased } from "../resonate/leases.ts";
import { createResonateLogger } from "../resonate/log.ts";
import { describe } from "../support/errors.ts";
import type { Log } from "../support/log.ts";
import { doneWithin, retryUntilDone } from "../support/retry.ts";
import { createSemaphore } from "../support/semaphore.ts";
import { aborted } from "../support/signals.ts";
import { startConsumer } from "./consumer.ts";
import { createDispatch } from "./dispatch.ts";
import { createInFlight } from "./in-flight.ts";
import type { Config } from "./settings.ts";
import { NEVER_MS } from "./step-options.ts";

/** At most so long for each connection to close: a broker that is gone must not hold up a stop. */
const CLOSE_TIMEOUT_MS = 2000;

export interface WorkerOptions {
  readonly config: Config;
  readonly log: Log;
  /** Ends the wait for a broker or server that cannot be reached. */
  readonly signal: AbortSignal;
  /** The source of simulated failures: a number from 0 up to, but not including, 1. */
  readonly random?: () => number;
}

export interface Worker extends AsyncDisposable {
  /** Unique among all workers; begins with the process id. */
  readonly name: string;
  /** Rejects when the worker cannot go on, though its process lives. */
  readonly failed: Promise<never>;
}

/**
 * Starts a worker: consumer of record ids and executor of their workflows at once. Waits for broker and server
 * until both can be reached. Disposing of it is the graceful stop: steps that run may end (SHUTDOWN_GRACE_MS), and
 * what they leave goes to another worker at once.
 *
 * @throws the reason of `signal` when it is aborted before the worker has started
 * @throws {RecordStoreError} when the row store cannot be opened
 */
export const startWorker = async (options: WorkerOptions): Promise<Worker> => {
  try {
    return await assemble(options);
  } catch (error) {
    // Whatever else went wrong meanwhile, it was to stop.
    options.signal.throwIfAborted();
    throw error;
  }
};

const assemble = async ({ config, log, signal, random = Math.random }: WorkerOptions): Promise<Worker> => {
  const name = `${process.pid}-${randomUUID().slice(0, 8)}`;
  const topics = {
    source: config.TOPIC_TO_DELETE,
    completions: config.TOPIC_DELETED,
    deadLetters: config.TOPIC_DEAD_LETTER,
  };
  await using opened = new AsyncDisposableStack();
  const records = opened.use(openRecords(config.RECORDS_DB, { worker: name }));

  await Promise.all([
    untilReachable("Kafka broker", config.KAFKA_BROKERS.join(","), { log, signal }, () => {
      const kafka = createKafka(config, {
        clientId: name,
        log,
        level: logLevel.NOTHING,
        // The tries are ours, and each failure is to be shown.
        retries: 1,
      });
      return ensureTopics(kafka, config);
    }),
    untilReachable("Resonate server", config.RESONATE_URL, { log, signal }, () => ping(config.RESONATE_URL)),
  ]);

  const closing = (close: () => Promise<void>) => async () => {
    await doneWithin(close(), CLOSE_TIMEOUT_MS).catch((error) =>
      log.warn(`while closing: ${describe(error)}`),
    );
  };
  const kafka = createKafka(config, { clientId: name, log });
  const producer = createProducer(kafka);
  await producer.connect();
  opened.defer(closing(() => producer.disconnect()));

  const logger = createResonateLogger(log);
  const inFlight = opened.use(createInFlight(config.MAX_IN_FLIGHT, Date.now));
  const network = connectLeased({
    url: config.RESONATE_URL,
    token: config.RESONATE_TOKEN,
    group: config.RESONATE_GROUP,
    pid: name,
    ttl: config.LEASE_TTL_MS,
    logger,
    onEnded: inFlight.leave,
  });
  const resonate = new Resonate({
    network,
    pid: name,
    ttl: config.LEASE_TTL_MS,
    logger,
  });
  opened.defer(closing(() => resonate.stop()));

  const steps = createSteps({
    records,
    producer,
    topics,
    batchSize: config.BATCH_SIZE,
    running: createSemaphore(config.DELETE_CONCURRENCY),
    latencyMs: config.SIMULATED_LATENCY_MS,
    failureRate: config.SIMULATED_FAILURE_RATE,
    random,
    now: Date.now,
    log,
  });
  const workflow = resonate.register(
    createWorkflow(steps, {
      target: network.match(config.RESONATE_GROUP),
      pauseMs: config.BATCH_PAUSE_MS,
      maxAttempts: config.DELETE_MAX_ATTEMPTS,
      retryDelayMs: config.RETRY_DELAY_MS,
    }),
  );
  for (const step of Object.values(steps)) resonate.register(step);

  const noTimeout = resonate.options({ timeout: NEVER_MS });
  const consumer = await startConsumer({
    kafka,
    groupId: config.KAFKA_GROUP_ID,
    topic: topics.source,
    sessionTimeoutMs: config.SESSION_TIMEOUT_MS,
    concurrency: config.DISPATCH_CONCURRENCY,
    dispatch: createDispatch({
      begin: (id, record) => workflow.beginRun(id, record, 0, noTimeout),
      inFlight,
      producer,
      topics,
      workflowTimeoutMs: config.WORKFLOW_TIMEOUT_MS,
      batchesPerSegment: config.BATCHES_PER_SEGMENT,
      now: Date.now,
      log,
    }),
    log,
  });
  opened.defer(async () => {
    log.info(`stopping: ${network.held} executions may end their step`);
    await Promise.all([closing(() => consumer.stop())(), network.drain(config.SHUTDOWN_GRACE_MS)]);
  });

  log.info(`worker ${name} is ready: kill -9 ${process.pid} to see another take over`);
  const resources = opened.move();
  return {
    name,
    failed: consumer.failed,
    [Symbol.asyncDispose]: () => resources.disposeAsync(),
  };
};

const untilReachable = (
  system: string,
  address: string,
  { log, signal }: Pick<WorkerOptions, "log" | "signal">,
  reach: () => Promise<void>,
) => {
  const reached = retryUntilDone(reach, {
    signal,
    minDelayMs: 1000,
    onFailure: (error, retryInMs) =>
      log.warn(
        `${system} at ${address} cannot be reached: ${describe(error)}. Start one with 'npm run stack' or 'docker compose up -d'. Next try in ${retryInMs / 1000} s.`,
      ),
  });
  // A try may take seconds: a stop does not wait for it.
  return Promise.race([reached, aborted(signal).then(() => signal.throwIfAborted())]);
};

const ping = async (url: string) => {
  const response = await fetch(`${url}/health`, {
    signal: AbortSignal.timeout(5000),
  });
  await response.body?.cancel();
  if (!response.ok) throw new Error(`expected status 200 from ${url}/health, got ${response.status}`);
};
