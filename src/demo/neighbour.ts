import { join } from "node:path";
import type { Kafka, Message, Producer } from "kafkajs";
import { job } from "../jobs/deletion/job.ts";
import { openRecords } from "../jobs/deletion/open-records.ts";
import { ensureTopics } from "../kafka/topics.ts";
import { parseJobSettings } from "../worker/settings.ts";
import type { Finding } from "./verdict.ts";
import { watchTopic } from "./watch-topic.ts";
import { spawnWorker } from "./worker-process.ts";

export interface NeighbourOptions {
  /** Settings of the service beside which it lives. */
  readonly settings: Readonly<Record<string, string>>;
  readonly folder: string;
  readonly kafka: Kafka;
  readonly producer: Producer;
}

/** A second service at the same broker and server: the same job, with topics, groups and rows of its own. */
export interface Neighbour extends AsyncDisposable {
  /** Produces a record to it whose id the first service has, too. */
  add(recordId: string, rows: number): Promise<void>;
  /** How many of its records are not completed yet. */
  missing(): number;
  judge(): Promise<Finding>;
}

const OWN = ["KAFKA_GROUP_ID", "TOPIC_SOURCE", "TOPIC_COMPLETIONS", "TOPIC_DEAD_LETTERS", "RESONATE_GROUP"];

/** Starts it with one worker, which nothing befalls but what befalls the server. */
export const startNeighbour = async ({
  settings,
  folder,
  kafka,
  producer,
}: NeighbourOptions): Promise<Neighbour> => {
  await using opened = new AsyncDisposableStack();
  const own = Object.fromEntries(OWN.map((name) => [name, `${settings[name]}-2`]));
  const env = { ...settings, ...own, RECORDS_DB: join(folder, "neighbour.db"), EVENTS_FILE: "" };
  const config = parseJobSettings(job, env);
  await ensureTopics(kafka, config);
  const store = opened.use(await openRecords(config.RECORDS_DB, { worker: "soak" }));
  const completed = opened.use(await watchTopic(kafka, config.TOPIC_COMPLETIONS));
  const worker = opened.use(spawnWorker(env, { cwd: folder }));
  await worker.ready;
  const added = new Set<string>();
  const missing = () => added.difference(new Set(completed.messages.map(({ key }) => String(key)))).size;
  const resources = opened.move();
  return {
    add: async (recordId, rows) => {
      await store.addRows(new Map([[recordId, rows]]));
      added.add(recordId);
      const messages: Message[] = [{ key: recordId, value: JSON.stringify(recordId) }];
      await producer.send({ topic: config.TOPIC_SOURCE, acks: -1, messages });
    },
    missing,
    judge: async () => {
      const left = await store.countRows();
      return {
        claim: "a second service with the same record ids completed its own",
        holds: missing() === 0 && left === 0,
        seen: `${added.size - missing()} of ${added.size}, ${left} rows left`,
      };
    },
    [Symbol.asyncDispose]: () => resources.disposeAsync(),
  };
};
