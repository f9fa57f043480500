import { randomUUID } from "node:crypto";
import { Resonate } from "@resonatehq/sdk";
import { logLevel } from "kafkajs";
import { createKafka, createProducer } from "../kafka/client.ts";
import { ensureTopics } from "../kafka/topics.ts";
import { connect, endedIn } from "../resonate/connection.ts";
import { createResonateLogger } from "../resonate/log.ts";
import { describe } from "../support/errors.ts";
import type { Log } from "../support/log.ts";
import { doneWithin } from "../support/retry.ts";
import type { Env } from "../support/settings.ts";
import { createBegin } from "./begin.ts";
import { startConsumer } from "./consumer.ts";
import { createSendDeadLetter } from "./dead-letter.ts";
import { createDispatch } from "./dispatch.ts";
import { createExecution, executionName, NEVER_MS } from "./execution.ts";
import { createInFlight } from "./in-flight.ts";
import type { AnyJob } from "./job.ts";
import { createPublish } from "./publish.ts";
import { ping, untilReachable } from "./reach.ts";
import { parseJobSettings } from "./settings.ts";
import { createStepRunner } from "./step.ts";

/** The longest a connection may take to close, in milliseconds: a broker that is gone must not hold up a stop. */
const CLOSE_TIMEOUT_MS = 2000;

export interface WorkerOptions {
  readonly job: AnyJob;
  /** Settings by name, as text. */
  readonly env: Env;
  readonly log: Log;
  /** Ends the wait for a broker or server that cannot be reached. */
  readonly signal: AbortSignal;
  /** A number from 0 up to, but not including, 1. */
  readonly random?: () => number;
}

export interface Worker extends AsyncDisposable {
  /** Unique among all workers; begins with the process id. */
  readonly name: string;
  /** Rejects when the worker cannot go on, though its process lives. */
  readonly failed: Promise<never>;
}

/**
 * Starts a worker: consumer of messages and executor of their workflows at once. Waits for broker and server until
 * both can be reached. Disposing of it is the graceful stop: steps that run may end (SHUTDOWN_GRACE_MS), and what they
 * leave goes to another worker at once.
 *
 * @throws the reason of `signal` when it is aborted before the worker has started
 * @throws {SettingsError} when a setting is not valid; what the job throws when it cannot open what its steps touch
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

const assemble = async ({ job, env, log, signal, random = Math.random }: WorkerOptions): Promise<Worker> => {
  const settings = parseJobSettings(job, env);
  const name = `${process.pid}-${randomUUID().slice(0, 8)}`;
  const now = Date.now;
  const topics = { source: settings.TOPIC_SOURCE, deadLetters: settings.TOPIC_DEAD_LETTERS };
  await using opened = new AsyncDisposableStack();
  const effects = job.open(settings, { resources: opened, worker: name, random });

  const brokers = settings.KAFKA_BROKERS.join(",");
  await Promise.all([
    untilReachable({ system: "Kafka broker", address: brokers, log, signal }, () => {
      // The tries are ours, and each failure is to be shown.
      const once = createKafka(settings, { clientId: name, log, level: logLevel.NOTHING, retries: 1 });
      return ensureTopics(once, settings);
    }),
    untilReachable({ system: "Resonate server", address: settings.RESONATE_URL, log, signal }, () =>
      ping(settings.RESONATE_URL),
    ),
  ]);

  const closing = (close: () => Promise<void>) => async () => {
    await doneWithin(close(), CLOSE_TIMEOUT_MS).catch((error) =>
      log.warn(`while closing: ${describe(error)}`),
    );
  };
  const kafka = createKafka(settings, { clientId: name, log });
  const producer = createProducer(kafka);
  await producer.connect();
  opened.defer(closing(() => producer.disconnect()));

  const runner = createStepRunner({
    concurrency: settings.STEP_CONCURRENCY,
    maxAttempts: settings.STEP_MAX_ATTEMPTS,
    retryDelayMs: settings.RETRY_DELAY_MS,
    now,
    log,
  });
  const publish = createPublish(producer, settings.TOPIC_COMPLETIONS);
  const steps = job.createSteps(effects, { publish, log, now }, settings);

  const inFlight = createInFlight(settings.MAX_IN_FLIGHT);
  const logger = createResonateLogger(log);
  const registered = executionName(job.name, topics.source);
  const beginnings = createBegin(registered, (id, text) => execution.beginRun(id, text, lasting));
  const connection = connect({
    url: settings.RESONATE_URL,
    token: settings.RESONATE_TOKEN,
    group: settings.RESONATE_GROUP,
    pid: name,
    ttl: settings.LEASE_TTL_MS,
    logger,
    onAnswer: (request, response) => {
      beginnings.onAnswer(request, response);
      const ended = endedIn(request, response);
      if (ended !== undefined) inFlight.leave(ended);
      if (request.kind === "task.suspend" || request.kind === "task.release") {
        inFlight.mayEndElsewhere(request.data.id);
      }
    },
  });
  const resonate = new Resonate({ network: connection, pid: name, ttl: settings.LEASE_TTL_MS, logger });
  opened.defer(closing(() => resonate.stop()));
  const execution = resonate.register(
    registered,
    createExecution({
      job: job.name,
      name: registered,
      steps,
      workflow: job.createWorkflow(steps, settings),
      runner,
      target: connection.anycast,
      sendDeadLetter: createSendDeadLetter({ producer, job: job.name, topics, now, log }),
    }),
  );
  const lasting = resonate.options({ timeout: NEVER_MS, target: connection.anycast });

  const consumer = await startConsumer({
    kafka,
    groupId: settings.KAFKA_GROUP_ID,
    topic: topics.source,
    sessionTimeoutMs: settings.SESSION_TIMEOUT_MS,
    concurrency: settings.DISPATCH_CONCURRENCY,
    dispatch: createDispatch({
      read: (message) => job.read(message, settings),
      begin: beginnings.begin,
      inFlight,
      producer,
      topics,
      workflowTimeoutMs: settings.WORKFLOW_TIMEOUT_MS,
      now,
      log,
    }),
    log,
  });
  opened.defer(async () => {
    const { running } = runner;
    log.info(
      running === 0 ? "stopping: no step is running" : `stopping: ${running} running steps may end first`,
    );
    await Promise.all([closing(() => consumer.stop())(), connection.drain(settings.SHUTDOWN_GRACE_MS)]);
  });

  log.info(`worker ${name} is ready: kill -9 ${process.pid} to see another take over`);
  const resources = opened.move();
  return {
    name,
    failed: consumer.failed,
    [Symbol.asyncDispose]: () => resources.disposeAsync(),
  };
};
