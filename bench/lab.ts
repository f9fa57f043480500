import { randomUUID } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout } from "node:timers/promises";
import { type Kafka, logLevel, type Producer } from "kafkajs";
import { findExternalStack } from "../src/demo/external-stack.ts";
import { type ResonateProxy, startResonateProxy } from "../src/demo/resonate-proxy.ts";
import { spawnWorker, type WorkerProcess } from "../src/demo/worker-process.ts";
import { job } from "../src/jobs/deletion/job.ts";
import { openRecords } from "../src/jobs/deletion/open-records.ts";
import type { RecordStore } from "../src/jobs/deletion/records.ts";
import { createKafka } from "../src/kafka/client.ts";
import { createProducer } from "../src/kafka/producer.ts";
import { ensureTopics } from "../src/kafka/topics.ts";
import { silentLog } from "../src/support/log.ts";
import { parseJobSettings } from "../src/worker/settings.ts";
import { PLAIN, startStackProcess } from "./processes.ts";

type Env = Readonly<Record<string, string>>;

/** The settings of the job that is measured: the deletion. */
export type Settings = ReturnType<typeof parseJobSettings<typeof job.settings>>;

export interface LabOptions {
  readonly settings?: Env;
  /** Added to each request by an embedded server, in milliseconds. */
  readonly delayMs?: number;
}

/** What one measurement plays on: a broker, a server, a row store, topics and groups of its own. */
export interface Lab extends AsyncDisposable {
  readonly settings: Settings;
  /** The same, as a worker's environment. */
  readonly env: Env;
  readonly kafka: Kafka;
  readonly producer: Producer;
  readonly records: RecordStore;
  /** Puts a proxy before the server: requests of workers started from now on pass through it. */
  watchRequests(): Promise<ResonateProxy>;
  /** Starts a worker, ours or the one whose entry file is given, and waits until it is ready. */
  startWorker(options?: {
    settings?: Env;
    plain?: boolean;
    entry?: string;
    args?: readonly string[];
  }): Promise<WorkerProcess>;
  /** Makes records of so many batches each and produces their ids; gives them back in order. */
  seed(count: number, options?: { batches?: number; partition?: number }): Promise<string[]>;
  /** Waits until so many completions are in their topic. */
  untilCompleted(count: number, signal: AbortSignal): Promise<void>;
}

const MESSAGES_PER_SEND = 2000;
/** Between two looks at the end of the completions' topic, in milliseconds. */
const LOOK_MS = 50;

export const openLab = async ({ settings: own = {}, delayMs = 0 }: LabOptions = {}): Promise<Lab> => {
  await using opened = new AsyncDisposableStack();
  const stack = findExternalStack(process.env) ?? opened.use(await startStackProcess(delayMs));
  const folder = await mkdtemp(join(tmpdir(), "bench-"));
  opened.defer(() => rm(folder, { recursive: true, force: true }));

  const run = randomUUID().slice(0, 8);
  const env = {
    KAFKA_BROKERS: stack.kafkaBrokers,
    KAFKA_GROUP_ID: `bench-${run}`,
    TOPIC_SOURCE: `bench-${run}.to-delete`,
    TOPIC_COMPLETIONS: `bench-${run}.deleted`,
    TOPIC_DEAD_LETTERS: `bench-${run}.dead-letters`,
    RESONATE_URL: stack.resonateUrl,
    RESONATE_GROUP: `bench-${run}`,
    RECORDS_DB: join(folder, "records.db"),
    SIMULATED_FAILURE_RATE: "0",
    ...own,
  };
  const settings = parseJobSettings(job, env);
  const kafka = createKafka(settings, { clientId: "bench", log: silentLog, level: logLevel.NOTHING });
  await ensureTopics(kafka, settings);
  const producer = createProducer(kafka);
  await producer.connect();
  opened.defer(() => producer.disconnect());
  const records = opened.use(await openRecords(settings.RECORDS_DB, { worker: "bench", lockWaitMs: 30_000 }));

  let resonateUrl = settings.RESONATE_URL;
  const workers = opened.use(new AsyncDisposableStack());
  const resources = opened.move();
  return {
    settings,
    env,
    kafka,
    producer,
    records,
    watchRequests: async () => {
      const proxy = resources.use(await startResonateProxy(settings.RESONATE_URL));
      resonateUrl = proxy.url;
      return proxy;
    },
    startWorker: async (options = {}) => {
      const { settings: extra = {}, plain = false, entry = plain ? PLAIN : undefined, args = [] } = options;
      const all = { ...env, RESONATE_URL: resonateUrl, ...extra };
      const worker = workers.use(spawnWorker(all, { cwd: folder, args, ...(entry ? { entry } : {}) }));
      await worker.ready;
      return worker;
    },
    seed: async (count, { batches = 0, partition } = {}) => {
      const seeding = randomUUID().slice(0, 8);
      const ids = Array.from({ length: count }, (_, i) => `${seeding}-${i}`);
      if (batches > 0) await records.addRows(new Map(ids.map((id) => [id, batches * settings.BATCH_SIZE])));
      const messages = ids.map((id) => ({
        key: id,
        value: JSON.stringify(id),
        ...(partition === undefined ? {} : { partition }),
      }));
      for (let i = 0; i < count; i += MESSAGES_PER_SEND) {
        await producer.send({
          topic: settings.TOPIC_SOURCE,
          messages: messages.slice(i, i + MESSAGES_PER_SEND),
        });
      }
      return ids;
    },
    untilCompleted: async (count, signal) => {
      const admin = kafka.admin();
      await admin.connect();
      for (let published = 0; published < count; ) {
        await setTimeout(LOOK_MS, undefined, { signal });
        const ends = await admin.fetchTopicOffsets(settings.TOPIC_COMPLETIONS);
        published = ends.reduce((sum, { high }) => sum + Number(high), 0);
      }
      await admin.disconnect();
    },
    [Symbol.asyncDispose]: () => resources.disposeAsync(),
  };
};

/** Waits until `condition` gives something, which it returns. */
export const until = async <T>(
  what: string,
  condition: () => T | undefined | false | Promise<T | undefined | false>,
  { signal, ms = 60_000 }: { signal: AbortSignal; ms?: number },
): Promise<T> => {
  const deadline = Date.now() + ms;
  for (;;) {
    const result = await condition();
    if (result !== undefined && result !== false) return result;
    if (Date.now() > deadline) throw new Error(`expected ${what} within ${ms} ms`);
    await setTimeout(20, undefined, { signal });
  }
};

/** When a worker wrote the lines that hold `text`, in milliseconds from the first of them, by its own clock. */
export const timesOf = ({ log }: WorkerProcess, text: string): number[] => {
  const times = log.filter(({ msg }) => msg.includes(text)).map(({ time }) => Date.parse(String(time)));
  const [first = 0] = times;
  return times.map((time) => time - first);
};

/** How many lines of a worker hold `text`; each line is looked at once. */
export const countLines = ({ lines }: WorkerProcess, text: string): (() => number) => {
  let [seen, count] = [0, 0];
  return () => {
    for (; seen < lines.length; seen++) if (lines[seen]?.includes(text)) count += 1;
    return count;
  };
};
