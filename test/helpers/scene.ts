import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { setTimeout } from "node:timers/promises";
import { type Kafka, type KafkaMessage, logLevel, type Message, type Producer } from "kafkajs";
import { type ResonateProxy, startResonateProxy } from "../../src/demo/resonate-proxy.ts";
import { spawnWorker, type WorkerProcess } from "../../src/demo/worker-process.ts";
import { openRecords, type RecordStore } from "../../src/jobs/deletion/records.ts";
import { createKafka, createProducer } from "../../src/kafka/client.ts";
import { ensureTopics } from "../../src/kafka/topics.ts";
import { createBroker } from "../../src/stack/broker/broker.ts";
import { createResonateServer } from "../../src/stack/resonate-server.ts";
import { silentLog } from "../../src/support/log.ts";
import { withTimeout } from "../../src/support/retry.ts";
import { type Config, parseConfig } from "../../src/worker/settings.ts";

/** The embedded broker and server of a test, or `undefined` where it runs on real ones. */
type Embedded = Awaited<ReturnType<typeof startEmbedded>> | undefined;

/** What a process-level test plays on: a broker, a server behind a proxy, a row store, and workers to kill. */
export interface Scene {
  readonly config: Config;
  readonly settings: Readonly<Record<string, string>>;
  readonly folder: string;
  readonly kafka: Kafka;
  readonly producer: Producer;
  readonly proxy: ResonateProxy;
  readonly embedded: Embedded;
  readonly records: RecordStore;
  /** Messages of the completions and of the dead-letter topic so far. */
  readonly completions: readonly KafkaMessage[];
  readonly deadLetters: readonly KafkaMessage[];
  /** Starts a worker process and waits until it consumes and executes. */
  startWorker(overrides?: Readonly<Record<string, string>>): Promise<WorkerProcess>;
  /** Adds rows and produces the record's id; gives back the id. */
  seed(options: { batches: number; partition?: number; recordId?: string }): Promise<string>;
  produce(...messages: Message[]): Promise<void>;
  /** Completions of one record. */
  completionsOf(recordId: string): KafkaMessage[];
  /** How often a batch of the record was applied. */
  batchesOf(recordId: string): number;
  /** The group's committed offsets, summed over partitions. */
  committed(): Promise<number>;
}

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

const startEmbedded = async (opened: AsyncDisposableStack) => {
  const broker = createBroker({ autoCreateTopics: false });
  opened.defer(() => broker.stop());
  const server = opened.use(createResonateServer());
  const { host, port } = await broker.listen({ port: 0 });
  const resonate = await server.listen({ port: 0 });
  return {
    broker,
    server,
    kafkaPort: port,
    brokers: `${host}:${port}`,
    url: `http://${resonate.host}:${resonate.port}`,
  };
};

/** Sets a scene, with names of its own for topics and groups; all of it is gone when the test ends. */
export const setScene = async (
  t: TestContext,
  overrides: Readonly<Record<string, string>> = {},
): Promise<Scene> => {
  const opened = new AsyncDisposableStack();
  t.after(() => opened.disposeAsync());
  const { KAFKA_BROKERS, RESONATE_URL } = process.env;
  const embedded = KAFKA_BROKERS && RESONATE_URL ? undefined : await startEmbedded(opened);
  const proxy = opened.use(await startResonateProxy(embedded?.url ?? RESONATE_URL ?? ""));
  const folder = await mkdtemp(join(tmpdir(), "scene-"));
  opened.defer(() => rm(folder, { recursive: true, force: true }));

  const run = randomUUID().slice(0, 8);
  const settings = {
    KAFKA_BROKERS: embedded?.brokers ?? KAFKA_BROKERS ?? "",
    KAFKA_GROUP_ID: `group-${run}`,
    TOPIC_SOURCE: `to-delete-${run}`,
    TOPIC_COMPLETIONS: `deleted-${run}`,
    TOPIC_DEAD_LETTERS: `dead-letters-${run}`,
    TOPIC_PARTITIONS: "2",
    RESONATE_URL: proxy.url,
    RESONATE_GROUP: `workers-${run}`,
    LEASE_TTL_MS: "2000",
    // A real broker takes no shorter one: group.min.session.timeout.ms.
    SESSION_TIMEOUT_MS: embedded ? "3000" : "6000",
    BATCH_PAUSE_MS: "100",
    SIMULATED_FAILURE_RATE: "0",
    RETRY_DELAY_MS: "200",
    RECORDS_DB: join(folder, "records.db"),
    ...overrides,
  };
  const config = parseConfig(settings);
  const kafka = createKafka(config, { clientId: "test", log: silentLog, level: logLevel.NOTHING });
  await ensureTopics(kafka, config);
  const records = opened.use(openRecords(config.RECORDS_DB, { worker: "test", busyTimeoutMs: 5000 }));
  const producer = createProducer(kafka);
  await producer.connect();
  opened.defer(() => producer.disconnect());
  const admin = kafka.admin();
  await admin.connect();
  opened.defer(() => admin.disconnect());

  const watch = async (topic: string) => {
    const seen: KafkaMessage[] = [];
    const groupId = `watch-${topic}`;
    // kafkajs 2.2.4 goes on after a disconnect that comes while it joins its group or starts again after a crash.
    let ended = false;
    // A short session, since after an outage a reader waits for the end of the one it had.
    const consumer = kafka.consumer({
      groupId,
      maxWaitTimeInMs: 100,
      sessionTimeout: 6000,
      retry: { restartOnFailure: async () => !ended },
    });
    consumer.on(consumer.events.FETCH_START, () => (ended ? consumer.disconnect() : undefined));
    await consumer.connect();
    opened.defer(() => {
      ended = true;
      return consumer.disconnect();
    });
    await consumer.subscribe({ topic, fromBeginning: true });
    await consumer.run({ eachMessage: async ({ message }) => void seen.push(message) });
    return seen;
  };
  const completions = await watch(config.TOPIC_COMPLETIONS);
  const deadLetters = await watch(config.TOPIC_DEAD_LETTERS);

  return {
    config,
    settings,
    folder,
    kafka,
    producer,
    proxy,
    embedded,
    records,
    completions,
    deadLetters,
    startWorker: async (extra = {}) => {
      const worker = opened.use(spawnWorker({ ...settings, ...extra }, { cwd: folder }));
      await worker.ready;
      return worker;
    },
    seed: async ({ batches, partition, recordId = `record-${randomUUID()}` }) => {
      records.addRows(new Map([[recordId, batches * config.BATCH_SIZE]]));
      await producer.send({
        topic: config.TOPIC_SOURCE,
        messages: [
          {
            key: recordId,
            value: JSON.stringify(recordId),
            ...(partition === undefined ? {} : { partition }),
          },
        ],
      });
      return recordId;
    },
    produce: async (...messages) => {
      await producer.send({ topic: config.TOPIC_SOURCE, messages });
    },
    completionsOf: (recordId) => completions.filter(({ key }) => String(key) === recordId),
    batchesOf: (recordId) => records.ledger().filter((entry) => entry.recordId === recordId).length,
    committed: async () => {
      const [own] = await admin.fetchOffsets({
        groupId: config.KAFKA_GROUP_ID,
        topics: [config.TOPIC_SOURCE],
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

/** Something that is down until its `end`. */
export interface Outage {
  /** Resolves once it is up again. */
  end(): Promise<void>;
}

/** Whether something listens at `host:port`. */
export const isListening = async (address: string): Promise<boolean> => {
  const { hostname, port } = new URL(`tcp://${address}`);
  const socket = connect({ host: hostname, port: Number(port) });
  const listens = await once(socket, "connect").then(
    () => true,
    () => false,
  );
  socket.destroy();
  return listens;
};

/** Runs a shell command that stops what listens at `address`, waits for OUTAGE_SECONDS and starts it again. */
const restartByCommand = async (command: string, address: string, ms: number): Promise<Outage> => {
  const restart = spawn(command, {
    shell: true,
    // What it starts outlives this process.
    detached: true,
    stdio: "ignore",
    env: { ...process.env, OUTAGE_SECONDS: String(ms / 1000) },
  });
  const exited = once(restart, "exit");
  await until(`nothing at ${address}`, async () => !(await isListening(address)));
  return {
    end: async () => assert.deepEqual(await exited, [0, null], `expected '${command}' to succeed`),
  };
};

/**
 * Takes the broker away, which keeps its log, for at least `ms` milliseconds. A real one takes the shell command in
 * KAFKA_RESTART to stop it, to wait for OUTAGE_SECONDS, and to start it again.
 */
export const beginBrokerOutage = async ({ embedded }: Scene, ms: number): Promise<Outage> => {
  const { KAFKA_RESTART = "", KAFKA_BROKERS = "" } = process.env;
  if (!embedded) return restartByCommand(KAFKA_RESTART, KAFKA_BROKERS, ms);
  await embedded.broker.stop();
  return {
    end: async () => {
      await setTimeout(ms);
      await embedded.broker.listen({ port: embedded.kafkaPort });
    },
  };
};

/** Takes the server away, which keeps its state, as `beginBrokerOutage` does; a real one by RESONATE_RESTART. */
export const beginServerOutage = async ({ embedded }: Scene, ms: number): Promise<Outage> => {
  const { RESONATE_RESTART = "", RESONATE_URL = "" } = process.env;
  if (!embedded) return restartByCommand(RESONATE_RESTART, new URL(RESONATE_URL).host, ms);
  await embedded.server.stop();
  return {
    end: async () => {
      await setTimeout(ms);
      await embedded.server.listen({ port: Number(new URL(embedded.url).port) });
    },
  };
};
