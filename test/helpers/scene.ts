import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { setTimeout } from "node:timers/promises";
import { type Kafka, type KafkaMessage, logLevel, type Message, type Producer } from "kafkajs";
import { findExternalStack } from "../../src/demo/external-stack.ts";
import { startPostgresProxy } from "../../src/demo/postgres-proxy.ts";
import type { ResonateProxy } from "../../src/demo/resonate-proxy.ts";
import { startProxy } from "../../src/demo/start-proxy.ts";
import { spawnWorker, type WorkerProcess } from "../../src/demo/worker-process.ts";
import { createKafka } from "../../src/kafka/client.ts";
import { createProducer } from "../../src/kafka/producer.ts";
import { ensureTopics, type TopicNames, withAdmin } from "../../src/kafka/topics.ts";
import { createBroker } from "../../src/stack/broker/broker.ts";
import { createResonateServer } from "../../src/stack/resonate-server.ts";
import { silentLog } from "../../src/support/log.ts";
import { isPostgres } from "../../src/support/postgres.ts";
import { withTimeout } from "../../src/support/retry.ts";
import type { AnyJob } from "../../src/worker/job.ts";
import { parseJobSettings, type WorkerSettings } from "../../src/worker/settings.ts";

/** The embedded broker and server of a test, or `undefined` where it runs on real ones. */
type Embedded = Awaited<ReturnType<typeof startEmbedded>> | undefined;

/** Settings by name, as text. */
export type Env = Readonly<Record<string, string>>;

/** What a process-level test plays on: a broker, a server behind a proxy, and workers of one job to kill. */
export interface Scene {
  readonly settings: WorkerSettings;
  readonly env: Env;
  readonly folder: string;
  readonly kafka: Kafka;
  readonly producer: Producer;
  readonly proxy: ResonateProxy;
  readonly embedded: Embedded;
  /** Closes what is registered here when the test ends. */
  readonly resources: AsyncDisposableStack;
  /** Messages of the completions and of the dead-letter topic so far. */
  readonly completions: readonly KafkaMessage[];
  readonly deadLetters: readonly KafkaMessage[];
  /** Starts a worker process and waits until it consumes and executes. */
  startWorker(overrides?: Env): Promise<WorkerProcess>;
  produce(...messages: Message[]): Promise<void>;
  /** Completions of one message id. */
  completionsOf(id: string): KafkaMessage[];
  /** The group's committed offsets, summed over partitions. */
  committed(): Promise<number>;
}

/** So many lines of each worker are shown of a test that failed. */
const LINES_TOLD = 40;

/** Waits until `condition` gives something, which it returns; fails after `ms`. */
export const until = async <T>(
  what: string,
  condition: () => T | undefined | false | Promise<T | undefined | false>,
  ms = 60_000,
): Promise<T> => {
  const deadline = Date.now() + ms;
  for (;;) {
    const result = await condition();
    if (result !== undefined && result !== false) return result;
    if (Date.now() > deadline) assert.fail(`expected ${what} within ${ms} ms`);
    await setTimeout(20);
  }
};

const startEmbeddedServer = async (opened: AsyncDisposableStack) => {
  const server = opened.use(createResonateServer());
  const { host, port } = await server.listen({ port: 0 });
  return { server, url: `http://${host}:${port}` };
};

/** A way to a database with executions, which stands for a server that can be taken away. */
const startWayTo = async (opened: AsyncDisposableStack, database: string) => {
  const { url, close, open, cut } = opened.use(await startPostgresProxy(database));
  return { server: { stop: close, listen: open, dropConnections: cut }, url };
};

const startEmbedded = async (opened: AsyncDisposableStack, database: string | undefined) => {
  const broker = createBroker({ autoCreateTopics: false });
  opened.defer(() => broker.stop());
  const { host, port } = await broker.listen({ port: 0 });
  const { server, url } =
    database === undefined ? await startEmbeddedServer(opened) : await startWayTo(opened, database);
  return { broker, server, kafkaPort: port, brokers: `${host}:${port}`, url };
};

/** Why tests that look into HTTP are skipped, or `false` where there is HTTP. */
export const skipWithoutHttp: string | false =
  isPostgres(process.env.RESONATE_URL ?? "") && "needs a Resonate server that is reached by HTTP";

/** What a failed test's workers said last: what failed elsewhere once may not do so again. */
const tellOfFailure = (t: TestContext, workers: readonly WorkerProcess[]) => {
  for (const { pid, log } of workers) {
    for (const { time, msg } of log.slice(-LINES_TOLD)) t.diagnostic(`worker ${pid}: ${String(time)} ${msg}`);
  }
};

/**
 * Waits until the leaders of topics answer. A broker may refuse what is sent to one partition of a topic that it has just
 * made, and kafkajs then sends it all again.
 */
const untilLed = (kafka: Kafka, names: TopicNames): Promise<void> =>
  // By a client of its own: one that has asked for a topic misses it once that is deleted.
  withAdmin(kafka, async (admin) => {
    for (const topic of [names.TOPIC_SOURCE, names.TOPIC_COMPLETIONS, names.TOPIC_DEAD_LETTERS])
      await until(`leaders of ${topic}`, () => admin.fetchTopicOffsets(topic).catch(() => undefined));
  });

/**
 * Opens a scene for a job, with names of its own for topics and groups; all of it is gone when the test ends.
 *
 * @param own settings beside those that the scene makes, which they override
 */
export const openScene = async (
  t: TestContext,
  job: Pick<AnyJob, "name" | "defaults" | "settings">,
  own: (folder: string) => Env,
): Promise<Scene> => {
  const opened = new AsyncDisposableStack();
  const workers: WorkerProcess[] = [];
  t.after(async () => {
    if (!t.passed) tellOfFailure(t, workers);
    await opened.disposeAsync();
  });
  const { KAFKA_BROKERS = "", RESONATE_URL = "" } = process.env;
  // Executions in Postgres on the embedded broker.
  const database = KAFKA_BROKERS === "" && isPostgres(RESONATE_URL) ? RESONATE_URL : undefined;
  const external = database === undefined ? findExternalStack(process.env) : undefined;
  const embedded = external ? undefined : await startEmbedded(opened, database);
  const proxy = opened.use(await startProxy(embedded?.url ?? external?.resonateUrl ?? ""));
  const folder = await mkdtemp(join(tmpdir(), "scene-"));
  opened.defer(() => rm(folder, { recursive: true, force: true }));

  const run = randomUUID().slice(0, 8);
  const env = {
    KAFKA_BROKERS: embedded?.brokers ?? external?.kafkaBrokers ?? "",
    KAFKA_GROUP_ID: `group-${run}`,
    TOPIC_SOURCE: `source-${run}`,
    TOPIC_COMPLETIONS: `completions-${run}`,
    TOPIC_DEAD_LETTERS: `dead-letters-${run}`,
    TOPIC_PARTITIONS: "2",
    RESONATE_URL: proxy.url,
    RESONATE_GROUP: `workers-${run}`,
    LEASE_TTL_MS: "2000",
    // A real broker takes no shorter one: group.min.session.timeout.ms.
    SESSION_TIMEOUT_MS: embedded ? "3000" : "6000",
    RETRY_DELAY_MS: "200",
    ...own(folder),
  };
  const settings = parseJobSettings(job, env);
  const kafka = createKafka(settings, { clientId: "test", log: silentLog, level: logLevel.NOTHING });
  await ensureTopics(kafka, settings);
  if (external) await untilLed(kafka, settings);
  const producer = createProducer(kafka);
  await producer.connect();
  opened.defer(() => producer.disconnect());
  const admin = kafka.admin();
  await admin.connect();
  opened.defer(() => admin.disconnect());
  const completions: KafkaMessage[] = [];
  const deadLetters: KafkaMessage[] = [];
  const watched = new Map([
    [settings.TOPIC_COMPLETIONS, completions],
    [settings.TOPIC_DEAD_LETTERS, deadLetters],
  ]);
  // kafkajs 2.2.4 goes on after a disconnect that comes while it joins its group or starts again after a crash.
  let ended = false;
  // A short session, since after an outage a reader waits for the end of the one it had.
  const watcher = kafka.consumer({
    groupId: `watch-${run}`,
    maxWaitTimeInMs: 200,
    sessionTimeout: 6000,
    retry: { restartOnFailure: async () => !ended },
  });
  watcher.on(watcher.events.FETCH_START, () => (ended ? watcher.disconnect() : undefined));
  await watcher.connect();
  opened.defer(() => {
    ended = true;
    return watcher.disconnect();
  });
  await watcher.subscribe({ topics: [...watched.keys()], fromBeginning: true });
  await watcher.run({ eachMessage: async ({ topic, message }) => void watched.get(topic)?.push(message) });

  return {
    settings,
    env,
    folder,
    kafka,
    producer,
    proxy,
    embedded,
    resources: opened,
    completions,
    deadLetters,
    startWorker: async (extra = {}) => {
      // A test that has timed out may go on.
      if (opened.disposed) throw new Error("expected a scene, got none: it has been closed");
      const worker = opened.use(spawnWorker({ ...env, ...extra }, { cwd: folder, args: [job.name] }));
      workers.push(worker);
      await worker.ready;
      return worker;
    },
    produce: async (...messages) => {
      await producer.send({ topic: settings.TOPIC_SOURCE, messages });
    },
    completionsOf: (id) => completions.filter(({ key }) => String(key) === id),
    committed: async () => {
      const [own] = await admin.fetchOffsets({
        groupId: settings.KAFKA_GROUP_ID,
        topics: [settings.TOPIC_SOURCE],
      });
      return (own?.partitions ?? []).reduce((sum, { offset }) => sum + Math.max(0, Number(offset)), 0);
    },
  };
};

/** What `work` resolves with; fails after `ms`. */
export const within = <T>(what: string, work: Promise<T>, ms = 30_000): Promise<T> =>
  withTimeout(work, ms, what);

/** The partitions a worker was given last, as it says itself. */
export const partitionsOf = (worker: WorkerProcess): number[] => {
  const line = worker.lines.findLast((own) => own.includes("joined consumer group"));
  return [...(line?.split(": ").at(-1) ?? "").matchAll(/\d+/g)].map(Number);
};

/** Lines of a worker that hold `text`. */
export const linesWith = (worker: WorkerProcess, text: string): string[] =>
  worker.lines.filter((line) => line.includes(text));
