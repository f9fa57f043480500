import { randomUUID } from "node:crypto";
import { logLevel } from "kafkajs";
import { assertRights, createKafka } from "../kafka/client.ts";
import { createProducer } from "../kafka/producer.ts";
import { ensureTopics } from "../kafka/topics.ts";
import { accessOf } from "../resonate/access-settings.ts";
import { ping } from "../resonate/open-transport.ts";
import { describe } from "../support/errors.ts";
import type { Log } from "../support/log.ts";
import { placeOf } from "../support/postgres.ts";
import { doneWithin, oneAtATime } from "../support/retry.ts";
import type { Env } from "../support/settings.ts";
import { aborted } from "../support/signals.ts";
import { startConsumer } from "./consumer.ts";
import { createDispatch } from "./dispatch.ts";
import { startExecutor } from "./executor.ts";
import type { AnyJob } from "./job.ts";
import { watchLag } from "./lag-watch.ts";
import { joinGroup, outsideGroup } from "./membership.ts";
import { warnOfMisspelt } from "./open-kafka.ts";
import { startProgressLog } from "./progress-log.ts";
import { untilOpen, untilReachable } from "./reach.ts";
import { neededRights, parseJobSettings, STOP_OVERRUN_MS } from "./settings.ts";
import { tell, type WorkerState } from "./telemetry.ts";

/** The longest a connection may take to close, in milliseconds: a broker that is gone must not hold up a stop. */
const CLOSE_TIMEOUT_MS = 2000;

export interface WorkerOptions {
  readonly job: AnyJob;
  /** Settings by name, as text. */
  readonly env: Env;
  readonly log: Log;
  /** Ends the wait for a broker or server that cannot be reached. */
  readonly signal: AbortSignal;
  /** How long running steps may take to end at a stop, in milliseconds, in place of SHUTDOWN_GRACE_MS. */
  readonly graceMs?: (setting: number) => number;
  /** A number from 0 up to, but not including, 1. */
  readonly random?: () => number;
}

export interface Worker extends AsyncDisposable {
  /** Unique among all workers; begins with the process id. */
  readonly name: string;
  /** Rejects when the worker cannot go on, though its process lives. */
  readonly failed: Promise<never>;
  /** How it stands at this moment. */
  state(): WorkerState;
}

/**
 * Starts a worker: consumer of messages and executor of their workflows at once. Waits for broker and server until
 * both can be reached. Disposing of it is the graceful stop: steps that run may end (SHUTDOWN_GRACE_MS), and what they
 * leave goes to another worker at once.
 *
 * @throws the reason of `signal` when it is aborted before the worker has started
 * @throws {AccessError} when broker or server refuse this client: a wrong password, token, certificate or right
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

const assemble = async (options: WorkerOptions): Promise<Worker> => {
  const { job, env, signal, graceMs: shorten = (ms) => ms, random = Math.random } = options;
  const settings = parseJobSettings(job, env);
  const name = `${process.pid}-${randomUUID().slice(0, 8)}`;
  const log = options.log.child({ worker: name });
  const topics = { source: settings.TOPIC_SOURCE, deadLetters: settings.TOPIC_DEAD_LETTERS };
  await using opened = new AsyncDisposableStack();
  warnOfMisspelt(job, env, log);
  const resonate = placeOf(settings.RESONATE_URL);
  log.info(
    `job ${job.name}: ${topics.source} at ${settings.KAFKA_BROKERS.join(",")} as ${settings.KAFKA_GROUP_ID}, executions at ${resonate} as ${settings.RESONATE_GROUP}`,
  );
  const effects = await untilOpen(() => job.open(settings, { resources: opened, worker: name, random }), {
    log,
    signal,
  });
  const server = { system: "Resonate server", address: resonate, log, signal };
  const broker = { system: "Kafka broker", address: settings.KAFKA_BROKERS.join(","), log, signal };
  // The tries are ours, and each failure is to be shown.
  const once = { clientId: name, log, level: logLevel.NOTHING, retries: 1 };
  await Promise.all([
    untilReachable(broker, async () => {
      await assertRights(settings, once, neededRights(settings));
      await ensureTopics(createKafka(settings, once), settings, log);
    }),
    untilReachable(server, () => ping(accessOf(settings))),
  ]);

  let stopBy = Number.POSITIVE_INFINITY;
  const closing = (close: () => Promise<void>) => async () => {
    const ms = Math.max(0, Math.min(CLOSE_TIMEOUT_MS, stopBy - Date.now()));
    await doneWithin(close(), ms).catch((error) => log.warn(`while closing: ${describe(error)}`));
  };
  const restoreTopics = oneAtATime(async () => {
    await assertRights(settings, once, neededRights(settings));
    await ensureTopics(kafka, settings);
  });
  let sourceGone = () => {};
  const onTopicGone = (api: string) => {
    if (api === "Fetch") sourceGone();
    // What keeps it from working is told by what is tried again.
    restoreTopics().catch(() => {});
  };
  const kafka = createKafka(settings, { clientId: name, log, onTopicGone });
  const producer = createProducer(kafka);
  await producer.connect();
  opened.defer(closing(() => producer.disconnect()));

  const executor = await startExecutor({
    job,
    settings,
    name,
    effects,
    producer,
    untilReachable: (reach) => untilReachable(server, reach),
    log,
  });
  opened.defer(closing(async () => executor[Symbol.asyncDispose]()));
  opened.use(startProgressLog({ log, state: executor.state }));

  const dispatch = createDispatch({
    read: (message) => job.read(message, settings),
    service: executor.service,
    begin: executor.begin,
    inFlight: executor.inFlight,
    producer,
    topics,
    workflowTimeoutMs: settings.WORKFLOW_TIMEOUT_MS,
    now: Date.now,
    log,
  });
  const join = (signal: AbortSignal) =>
    startConsumer({
      kafka,
      onTopicGone: (listener) => {
        sourceGone = listener;
      },
      groupId: settings.KAFKA_GROUP_ID,
      topic: topics.source,
      sessionTimeoutMs: settings.SESSION_TIMEOUT_MS,
      concurrency: settings.DISPATCH_CONCURRENCY,
      dispatch,
      restoreTopics,
      log,
      signal,
    });
  // It fails with the consumer, which says so.
  const quiet = createKafka(settings, once);
  const lag = watchLag({ admin: quiet.admin(), groupId: settings.KAFKA_GROUP_ID, topic: topics.source });
  opened.defer(closing(async () => lag[Symbol.asyncDispose]()));
  const takesMessages = settings.TAKE_MESSAGES === "yes";
  if (!takesMessages) log.info("takes no messages: only goes on with executions that were begun");
  const membership = takesMessages ? joinGroup({ join, log }) : outsideGroup();
  executor.onServer.lost = () => {
    log.warn(
      `no answer from the Resonate server for long: leaving consumer group ${settings.KAFKA_GROUP_ID}`,
    );
    membership.pause();
  };
  executor.onServer.back = () => {
    log.info("the Resonate server answers again: joining the consumer group");
    membership.resume();
  };
  opened.defer(async () => {
    const graceMs = shorten(settings.SHUTDOWN_GRACE_MS);
    stopBy = Date.now() + graceMs + STOP_OVERRUN_MS;
    const { running } = executor.runner;
    tell("worker.stopping", { worker: name, running });
    log.info(
      running === 0 ? "stopping: no step is running" : `stopping: ${running} running steps may end first`,
    );
    const drained = doneWithin(executor.drain(graceMs), stopBy - Date.now() - 500);
    await Promise.all([closing(() => membership.stop())(), drained]);
  });
  // To join takes as long as the slowest member of the group: a stop does not wait for it.
  await Promise.race([membership.joined, aborted(signal)]);
  signal.throwIfAborted();

  tell("worker.ready", { worker: name });
  log.info(`worker ${name} is ready: kill -9 ${process.pid} to see another take over`);
  const resources = opened.move();
  return {
    name,
    failed: membership.failed,
    state: executor.state,
    [Symbol.asyncDispose]: () => resources.disposeAsync(),
  };
};
