import { setTimeout } from "node:timers/promises";
import { watchTopic } from "../../src/demo/watch-topic.ts";
import { openLab, until } from "../lab.ts";
import { watchLeases } from "../lease-watch.ts";
import type { Measurement, Run } from "../measurement.ts";
import { format } from "../statistics.ts";

/** How long the server takes to answer. */
const ANSWER_MS = 600;
const RECORDS = 1000;
/** Connections that a worker opens for its requests: MAX_CONNECTIONS of src/resonate/http-send.ts. */
const CONNECTIONS = 128;
const LEAST_SHARE = 0.7;

const run = async ({ quick, signal, onProgress }: Run) => {
  const records = quick ? 100 : RECORDS;
  await using lab = await openLab();
  const proxy = await lab.watchRequests();
  const leases = watchLeases();
  let [requests, heartbeats, begunAt] = [0, 0, 0];
  const arrivals = new Map<object, number>();
  proxy.onRequest = (request) => {
    arrivals.set(request, performance.now());
    if (request.kind === "task.create") begunAt ||= performance.now();
  };
  let [answered, answeringMs] = [0, 0];
  proxy.onAnswer = async (request, status) => {
    leases.onAnswer(request, status);
    const arrivedAt = arrivals.get(request) ?? 0;
    arrivals.delete(request);
    await setTimeout(Math.max(1, ANSWER_MS - (performance.now() - arrivedAt)));
    if (request.kind === "task.heartbeat") heartbeats += 1;
    else {
      answered += 1;
      answeringMs += performance.now() - arrivedAt;
    }
    if (request.kind === "task.create" || request.kind === "task.fence" || request.kind === "task.fulfill")
      requests += 1;
  };
  await using completed = await watchTopic(lab.kafka, lab.settings.TOPIC_COMPLETIONS);
  await lab.seed(records, { batches: 1 });
  await lab.startWorker();
  await until(
    "all completions",
    () => {
      onProgress(completed.messages.length / records, "records on a slow server");
      return completed.messages.length >= records;
    },
    { signal, ms: 300_000 },
  );
  const ms = performance.now() - begunAt;
  const meanMs = answeringMs / answered;
  // Either the connections are the bound, or the starts: so many at once, and then the last record's requests.
  const least = Math.max(
    (requests * meanMs) / CONNECTIONS,
    (records / lab.settings.DISPATCH_CONCURRENCY + requests / records) * meanMs,
  );
  return {
    findings: [
      {
        claim: `a server that answers in ${ANSWER_MS} ms: at least ${100 * LEAST_SHARE} % of what its answers and ${CONNECTIONS} connections allow`,
        holds: least / ms >= LEAST_SHARE,
        seen: `${format((100 * least) / ms)} %: ${format(ms)} ms for ${records} records`,
      },
      {
        claim: "no lease is lost meanwhile",
        holds: leases.lost === 0 && leases.refused === 0,
        seen: `${leases.lost} lost, ${leases.refused} refused, ${leases.mostHeld} held at once`,
      },
    ],
    notes: [
      `${requests} requests for executions and ${heartbeats} heartbeats, each answered after ${format(meanMs)} ms.`,
    ],
    tables: [],
    plots: [],
    samples: { records, ms, least, requests, heartbeats, lost: leases.lost, refused: leases.refused },
  };
};

export const slowServer: Measurement = {
  name: "slow-server",
  title: "A slow server",
  method: `${RECORDS} records of one batch on one worker with default settings, before a server that takes ${ANSWER_MS} ms for every answer. What is possible follows from the requests that were made, the time an answer took, the ${CONNECTIONS} connections of a worker, and the starts it makes at once.`,
  seconds: 60,
  run,
};
