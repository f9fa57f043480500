import { Resonate, type Send } from "@resonatehq/sdk";
import type { Producer } from "kafkajs";
import { accessOf } from "../resonate/access-settings.ts";
import { connect, endedIn } from "../resonate/connection.ts";
import { setDefaultOptions } from "../resonate/default-options.ts";
import { createResonateLogger } from "../resonate/log.ts";
import { requestHead } from "../resonate/request.ts";
import type { Transport } from "../resonate/transport.ts";
import type { Log } from "../support/log.ts";
import { placeOf } from "../support/postgres.ts";
import type { Schema, Settings } from "../support/settings.ts";
import { createAttempts } from "./attempts.ts";
import { type Begin, createBegin } from "./begin.ts";
import { createCancelWatch } from "./cancel-watch.ts";
import { createSendDeadLetter } from "./dead-letter.ts";
import { createExecution, NEVER_MS, serviceOf } from "./execution.ts";
import { createExecutionEvents } from "./execution-events.ts";
import { createInFlight, type InFlight } from "./in-flight.ts";
import type { AnyJob } from "./job.ts";
import { tryBeginLostAgain } from "./lost-executions.ts";
import { createPublish, tellAnswered } from "./publish.ts";
import { watchServer } from "./server-watch.ts";
import { claimGroup, reportElsewhere, SERVICE_TAG } from "./service.ts";
import type { WorkerSettings } from "./settings.ts";
import { createStepRunner, type StepRunner } from "./step.ts";
import { createTakeovers } from "./takeovers.ts";
import type { WorkerState } from "./telemetry.ts";

export interface ExecutorOptions {
  readonly job: AnyJob;
  readonly settings: WorkerSettings & Settings<Schema>;
  /** Unique among all workers. */
  readonly name: string;
  /** What the job's steps touch, as it opened it. */
  readonly effects: object;
  readonly producer: Pick<Producer, "send">;
  /** Waits until what it is given succeeds. */
  readonly untilReachable: (reach: () => Promise<void>) => Promise<void>;
  readonly log: Log;
  /** In place of the one that RESONATE_URL asks for. */
  readonly transport?: Transport;
  /** Waits so many milliseconds between two tries of a step. */
  readonly sleep?: (ms: number) => Promise<unknown>;
}

/** The part of a worker that runs executions. */
export interface Executor extends AsyncDisposable {
  /** The name under which this service's executions are registered. */
  readonly service: string;
  readonly begin: Begin;
  readonly inFlight: InFlight;
  readonly runner: Pick<StepRunner, "running">;
  /** How it stands at this moment. */
  state(): WorkerState;
  /** See `Connection.drain`; steps that wait for room or for their next try go to another worker at once. */
  drain(graceMs: number): Promise<void>;
  /** Called when the server has not answered for long, and when it answers again. */
  onServer: { lost: () => void; back: () => void };
}

/**
 * Claims the worker group, then takes up executions: what this worker begins, and what the server has for it.
 *
 * @throws {SettingsError} when the worker group is another service's
 * @throws {UnfitServerError} when the server is newer than the SDK
 */
export const startExecutor = async (options: ExecutorOptions): Promise<Executor> => {
  const { job, settings, name, effects, producer, untilReachable, log } = options;
  const topics = { source: settings.TOPIC_SOURCE, deadLetters: settings.TOPIC_DEAD_LETTERS };
  const service = serviceOf(job, settings);
  const ttl = settings.LEASE_TTL_MS;
  const logger = createResonateLogger(log);
  await using opened = new AsyncDisposableStack();

  const attempts = createAttempts();
  const claim = (send: Send) => claimGroup(send, service);
  const onServer = { lost: () => {}, back: () => {} };
  const inFlight = createInFlight(settings.MAX_IN_FLIGHT);
  const { begin, onAnswer } = createBegin({
    name: service.name,
    beginRun: (id, text) => execution.beginRun(id, text),
    assertFit: () => claim(connection.send),
  });
  const connection = connect({
    access: accessOf(settings),
    group: service.group,
    pid: name,
    ttl,
    logger,
    log,
    assertFit: claim,
    beforeRelease: (lease) => takeovers.clear(lease),
    headersFor: (executionId, promiseId) => attempts.take(connection.history.find(executionId, promiseId)),
    transport: options.transport,
    // As many executions may wait for a step as run one.
    room: () => 2 * settings.STEP_CONCURRENCY - runner.running - runner.waiting,
    onReconnected: () => {
      const { send, unicast: address } = connection;
      void tryBeginLostAgain({ send, address, begin, inFlight, log });
    },
    onAnswer: (request, response, ms) => {
      tellOfExecutions(request, response, ms);
      if (response === undefined) server.unanswered();
      else {
        server.answered();
        onAnswer(request, response);
        const ended = endedIn(request, response);
        if (ended !== undefined) inFlight.leave(ended);
      }
      if (request.kind === "task.suspend" || request.kind === "task.release") {
        inFlight.mayEndElsewhere(request.data.id);
      }
    },
  });
  const takeovers = createTakeovers({ send: connection.send, history: connection.history });
  const tellOfExecutions = createExecutionEvents({
    worker: name,
    find: (id, promiseId) => connection.history.find(id, promiseId),
  });
  opened.defer(() => connection.stop());
  const server = opened.use(
    watchServer({
      probe: () => connection.send({ kind: "promise.get", head: requestHead(), data: { id: service.name } }),
      onLost: () => onServer.lost(),
      onBack: () => onServer.back(),
      onOutageOver: (ms) => {
        // A single request that failed among others is no outage.
        if (ms < 1000) return;
        log.info(
          `Resonate server at ${placeOf(settings.RESONATE_URL)} is back again, after ${Math.round(ms / 1000)} s`,
        );
      },
    }),
  );
  await untilReachable(() => claim(connection.send));

  const runner = createStepRunner({
    concurrency: settings.STEP_CONCURRENCY,
    maxAttempts: settings.STEP_MAX_ATTEMPTS,
    retryDelayMs: settings.RETRY_DELAY_MS,
    now: Date.now,
    ...(options.sleep && { sleep: options.sleep }),
    leaseOf: (executionId) => connection.leaseOf(executionId),
    assertWanted: createCancelWatch(connection),
    onAttempt: attempts.note,
    onGivenUp: attempts.forget,
    handBack: (executionId) => void connection.handBack(executionId).catch(() => {}),
    handBacksOf: (executionId) => connection.history.handBacksSince(executionId, 0),
    log,
  });
  const publish = createPublish(producer, settings.TOPIC_COMPLETIONS);
  const steps = job.createSteps(effects, { publish, answered: tellAnswered, log, now: Date.now }, settings);
  const resonate = new Resonate({ network: connection, pid: name, ttl, logger });
  opened.defer(() => resonate.stop());
  const tags = { [SERVICE_TAG]: service.name };
  setDefaultOptions(resonate, { timeout: NEVER_MS, target: connection.anycast, tags });
  const run = createExecution({
    job: job.name,
    name: service.name,
    steps,
    workflow: job.createWorkflow(steps, settings),
    runner,
    history: connection.history,
    takeovers,
    maxTakeovers: settings.STEP_MAX_TAKEOVERS,
    worker: name,
    target: connection.anycast,
    sendDeadLetter: createSendDeadLetter({ producer, job: job.name, topics, now: Date.now, log }),
  });
  const execution = resonate.register(service.name, run, { version: service.version });
  void reportElsewhere(connection.send, service, log).catch(() => {});

  const resources = opened.move();
  return {
    service: service.name,
    begin,
    inFlight,
    runner,
    state: () => ({
      inFlight: inFlight.size,
      maxInFlight: settings.MAX_IN_FLIGHT,
      oldestSince: inFlight.oldestSince,
      stepsRunning: runner.running,
      stepsWaiting: runner.waiting,
      maxSteps: settings.STEP_CONCURRENCY,
      leases: connection.leases,
      clockSkewMs: connection.clockSkewMs,
    }),
    drain: (graceMs) => {
      const drained = connection.drain(graceMs);
      runner.drain();
      return drained;
    },
    onServer,
    [Symbol.asyncDispose]: () => resources.disposeAsync(),
  };
};
