import type { Request } from "@resonatehq/sdk";
import { settings } from "../../src/jobs/deletion/settings.ts";
import { executeOurs, executePlain, type Traffic } from "../in-memory.ts";
import { openLab, until } from "../lab.ts";
import type { Measurement, Run } from "../measurement.ts";
import { format } from "../statistics.ts";

const BATCHES = [10, 100, 1000, 5000];
const SEGMENTS = [5, 10, 20, 50];
const PLAIN_BATCHES = [10, 20, 40, 100];
const MOST_PER_BATCH = 10;
const FLAT_WITHIN = 1.1;
/** A step's promise is made and settled, a sleep's is made, the execution is suspended and taken up again. */
const FLOOR = 5;
const judgedSegment = Number(settings.BATCHES_PER_SEGMENT.fallback);
const CHECKED_BATCHES = 10;
const CHECKED_RECORDS = 20;

interface Count extends Traffic {
  readonly batches: number;
}
const perBatch = ({ requests, batches }: Count) => requests / batches;
const kilobytesPerBatch = ({ bytes, batches }: Count) => bytes / batches / 1000;

/** What a worker asks for itself, however many records there are: heartbeats, its group, and whether the server is there. */
const OWN_KINDS = new Set<Request["kind"]>([
  "task.heartbeat",
  "promise.create",
  "promise.get",
  "promise.search",
]);

/** The same count over HTTP, of a worker process whose sleeps are real. What it asks for itself is counted apart. */
const countAtServer = async (batches: number, records: number, signal: AbortSignal) => {
  await using lab = await openLab({ settings: { BATCH_PAUSE_MS: "1500", LEASE_TTL_MS: "600" } });
  const proxy = await lab.watchRequests();
  let [requests, besides, ended] = [0, 0, 0];
  proxy.onAnswer = (request) => {
    if (OWN_KINDS.has(request.kind)) besides += 1;
    else requests += 1;
    // A record's own execution is the last of its executions to end; the others have a ':' in their id.
    if (request.kind === "task.fulfill" && !request.data.id.includes(":")) ended += 1;
  };
  await lab.startWorker();
  await lab.seed(records, { batches });
  await until("all records to end", () => ended >= records, { signal });
  return { batches, records, requestsPerBatch: requests / (batches * records), besides };
};

const run = async ({ quick, signal, onProgress }: Run) => {
  const sizes = quick ? BATCHES.slice(0, 2) : BATCHES;
  const ours = SEGMENTS.map((segment) => ({ segment, counts: [] as Count[] }));
  const plain: Count[] = [];
  let done = 0;
  const count = async (counts: Count[], batches: number, traffic: Promise<Traffic>) => {
    counts.push({ batches, ...(await traffic) });
    done += 1;
    onProgress(Math.min(0.9, done / (sizes.length * SEGMENTS.length)), "records in memory");
  };
  const [checked] = await Promise.all([
    countAtServer(CHECKED_BATCHES, quick ? 2 : CHECKED_RECORDS, signal),
    ...ours.map(async ({ segment, counts }) => {
      // The longest takes the in-memory server most of the time: for what is judged only.
      const own = segment === judgedSegment ? sizes : sizes.slice(0, 3);
      for (const batches of own) await count(counts, batches, executeOurs(batches, segment));
    }),
    ...PLAIN_BATCHES.map((batches) => count(plain, batches, executePlain(batches))),
  ]);
  plain.sort((a, b) => a.batches - b.batches);

  const judged = ours.find((own) => own.segment === judgedSegment)?.counts ?? [];
  const counts = judged.map(perBatch);
  const [most, least] = [Math.max(...counts), Math.min(...counts)];
  const predicted = judged.find(({ batches }) => batches === CHECKED_BATCHES);
  const difference = Math.abs(checked.requestsPerBatch / (predicted ? perBatch(predicted) : Number.NaN) - 1);
  const toPoint = (count: Count) => ({ x: count.batches, y: perBatch(count) });
  return {
    findings: [
      {
        claim: `at most ${MOST_PER_BATCH} requests a batch, from ${sizes[0]} to ${sizes.at(-1)} batches a record`,
        holds: most <= MOST_PER_BATCH,
        seen: `${counts.map((n) => n.toFixed(2)).join(", ")} at ${sizes.join(", ")} batches (segments of ${judgedSegment}; floor ${FLOOR})`,
      },
      {
        claim: "flat within 10 %",
        holds: most <= least * FLAT_WITHIN,
        seen: `the most are ${format(100 * (most / least - 1))} % above the least`,
      },
      {
        claim: "a worker process with real sleeps sends as many requests",
        holds: difference <= 0.02,
        seen: `${checked.requestsPerBatch.toFixed(2)} a batch at ${CHECKED_BATCHES} batches, ${checked.besides} heartbeats and other requests of its own besides`,
      },
    ],
    notes: [
      `The floor is ${FLOOR}: a step's promise is made and settled, the sleep's is made, the execution is suspended and taken up again. What is above it is the segment boundary: a fresh execution is made, taken up and ended, the one that waits for it is suspended, taken up, and asks for it once more: 6 requests a segment.`,
    ],
    tables: [
      {
        head: ["", ...sizes.map((n) => `${n} batches`), "kB a batch"],
        rows: ours.map(({ segment: own, counts: row }) => [
          `segments of ${own}`,
          ...sizes.map((_, i) => (row[i] === undefined ? "–" : perBatch(row[i]).toFixed(2))),
          row.map((count) => kilobytesPerBatch(count).toFixed(0)).join(" / "),
        ]),
      },
      {
        head: ["", ...PLAIN_BATCHES.map((n) => `${n} batches`), "kB a batch"],
        rows: [
          [
            "plain",
            ...plain.map((count) => perBatch(count).toFixed(1)),
            plain.map((count) => kilobytesPerBatch(count).toFixed(0)).join(" / "),
          ],
        ],
      },
    ],
    plots: [
      {
        file: "growth",
        title: "Requests to the server per batch",
        x: { label: "batches a record", log: true, ticks: [10, 100, 1000, 5000] },
        y: { label: "requests per batch", max: 30 },
        series: [
          { name: "plain loop", of: "plain" as const, points: plain.map(toPoint) },
          ...ours.map(({ segment: own, counts: row }) => ({
            name: `segments of ${own}`,
            points: row.map(toPoint),
          })),
        ],
      },
    ],
    samples: { ours, plain, checked },
  };
};

export const growth: Measurement = {
  name: "growth",
  title: "Growth",
  method: `Requests to the server per batch of one record, all of its life, from its creation to its end. The workflow runs over the SDK's LocalNetwork in this process, whose clock is made to jump to the next timer as soon as the execution sleeps (the pause counts as 5 s), so the counts are the same each time. Checked by a worker process over HTTP with real pauses, ${CHECKED_RECORDS} records of ${CHECKED_BATCHES} batches.`,
  seconds: 45,
  run,
};
