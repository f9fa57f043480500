import type { Admin } from "kafkajs";
import { type Change, startSilentUrlProxy } from "../../src/demo/silent-proxy.ts";
import { openLab, until } from "../lab.ts";
import { watchWork } from "../lease-watch.ts";
import type { Measurement, Run } from "../measurement.ts";
import { format, formatSpread, spreadOf } from "../statistics.ts";

const LEASE_TTL_MS = 3000;
/** `tasks.retry_timeout` of the embedded server and in docker-compose.yml. */
const RETRY_TIMEOUT_MS = 5000;
const RECORDS = 40;
const STEP_MS = 2000;
const STREAMS = 5;
const MEDIAN_LIMIT_MS = LEASE_TTL_MS + 2 * RETRY_TIMEOUT_MS;
const LAST_LIMIT_MS = 45_000;
const DEAF_LIMIT_MS = 30_000;
const LEAVE_LIMIT_MS = 60_000;

type Loss = "vanishes" | "is frozen";

/** Loses one of three workers, its connections open; milliseconds until each of its running steps was taken over. */
const loseHost = async (loss: Loss, records: number, signal: AbortSignal): Promise<number[]> => {
  await using lab = await openLab({
    settings: {
      LEASE_TTL_MS: String(LEASE_TTL_MS),
      SIMULATED_LATENCY_MS: String(STEP_MS),
      BATCH_PAUSE_MS: "200",
      BATCH_SIZE: "1",
      STEP_CONCURRENCY: String(records),
    },
  });
  const { proxy, steps, leases } = await watchWork(lab);
  await using way = await startSilentUrlProxy(proxy.url);
  const lost = await lab.startWorker({ settings: { RESONATE_URL: way.url } });
  const name = await lost.ready;
  await lab.seed(records, { batches: 100 });
  await until("a step of each record in flight", () => steps.at(name).length >= records, { signal });
  await Promise.all([lab.startWorker(), lab.startWorker()]);
  const cut = await until(
    "all its steps in flight",
    () => {
      const own = steps.at(name).map(({ recordId }) => recordId);
      return own.length >= records / 4 && new Set(own);
    },
    { signal },
  );

  const taken = new Map<string, number>();
  const lostAt = performance.now();
  leases.onTaken = (task, by) => {
    const record = task.split(":", 1)[0] ?? task;
    if (by !== name && cut.has(record) && !taken.has(record)) taken.set(record, performance.now() - lostAt);
  };
  if (loss === "vanishes") {
    way.fallSilent();
    lost.kill("SIGKILL");
  } else lost.kill("SIGSTOP");
  await until("all to be taken over", () => taken.size >= cut.size, { signal, ms: 120_000 });
  return [...taken.values()];
};

/** Makes streams of events deaf while answers pass; milliseconds until each worker has opened another stream. */
const deafen = async (count: number, signal: AbortSignal): Promise<number[]> => {
  await using lab = await openLab();
  const measure = async () => {
    let streams = 0;
    let isDeaf = false;
    const change = (): Change => {
      let isStream = false;
      return (chunk) => {
        if (!isStream && chunk.includes("text/event-stream")) {
          isStream = true;
          streams += 1;
          isDeaf = false;
        }
        return isStream && isDeaf ? Buffer.alloc(0) : chunk;
      };
    };
    await using way = await startSilentUrlProxy(lab.settings.RESONATE_URL, change);
    await lab.startWorker({ settings: { RESONATE_URL: way.url } });
    const before = streams;
    isDeaf = true;
    const began = performance.now();
    await until("another stream", () => streams > before, { signal, ms: 2 * DEAF_LIMIT_MS });
    return performance.now() - began;
  };
  // The lab lasts until all have measured.
  return await Promise.all(Array.from({ length: count }, measure));
};

/** Cuts one of two workers off from the server; milliseconds until the other has all partitions. */
const cutOff = async (signal: AbortSignal): Promise<number> => {
  await using lab = await openLab();
  await using way = await startSilentUrlProxy(lab.settings.RESONATE_URL);
  const admin: Admin = lab.kafka.admin();
  await admin.connect();
  try {
    const members = async () => {
      const { groups } = await admin.describeGroups([lab.settings.KAFKA_GROUP_ID]);
      return groups[0]?.state === "Stable" ? groups[0].members.length : 0;
    };
    await lab.startWorker({ settings: { RESONATE_URL: way.url } });
    await lab.startWorker();
    await until("both in the group", async () => (await members()) === 2, { signal });
    way.fallSilent();
    const began = performance.now();
    await until("one in the group", async () => (await members()) === 1, { signal, ms: 2 * LEAVE_LIMIT_MS });
    return performance.now() - began;
  } finally {
    await admin.disconnect();
  }
};

const run = async ({ quick, signal, onProgress }: Run) => {
  const records = quick ? 8 : RECORDS;
  onProgress(0, "a host vanishes, a worker is frozen");
  const vanished = await loseHost("vanishes", records, signal);
  onProgress(0.3, "a worker is frozen");
  const frozen = await loseHost("is frozen", records, signal);
  onProgress(0.6, "deaf streams; a worker without its way to the server");
  const [deaf, left] = await Promise.all([deafen(quick ? 1 : STREAMS, signal), cutOff(signal)]);

  const losses = [
    { what: "a host vanishes", times: vanished },
    { what: "a worker is frozen", times: frozen },
  ];
  return {
    findings: [
      ...losses.flatMap(({ what, times }) => {
        const spread = spreadOf(times);
        return [
          {
            claim: `${what}: half of its steps run elsewhere within ${MEDIAN_LIMIT_MS / 1000} s (lease + 2 × retry timeout)`,
            holds: spread.median <= MEDIAN_LIMIT_MS,
            seen: `${formatSpread(spread, " ms")}, ${spread.n} steps`,
          },
          {
            claim: `${what}: all of its steps run elsewhere within ${LAST_LIMIT_MS / 1000} s`,
            holds: spread.max <= LAST_LIMIT_MS,
            seen: `${format(spread.max)} ms`,
          },
        ];
      }),
      {
        claim: `a deaf stream of events is replaced within ${DEAF_LIMIT_MS / 1000} s`,
        holds: Math.max(...deaf) <= DEAF_LIMIT_MS,
        seen: formatSpread(spreadOf(deaf), " ms"),
      },
      {
        claim: `a worker that alone does not reach the server leaves its partitions to others within ${LEAVE_LIMIT_MS / 1000} s`,
        holds: left <= LEAVE_LIMIT_MS,
        seen: `${format(left)} ms`,
      },
    ],
    notes: [
      "The server draws a worker for each try among the connections that it believes open. So a step may be offered to the lost one again, and waits for another retry timeout each time.",
    ],
    tables: [
      {
        head: ["", "steps", "median, ms", "90 % below, ms", "last, ms"],
        rows: losses.map(({ what, times }) => {
          const { n, median, p90, max } = spreadOf(times);
          return [what, n, format(median), format(p90), format(max)];
        }),
      },
    ],
    plots: [],
    samples: { vanished, frozen, deaf, left },
  };
};

export const lostHost: Measurement = {
  name: "lost-host",
  title: "A lost host",
  method: `One of three workers is lost with its connections open at the server: once behind a proxy that goes silent both ways and closes nothing, once by SIGSTOP. Measured is the time until the server has given another worker the lease on each record whose step was in flight; lease ${LEASE_TTL_MS / 1000} s, retry timeout of the server ${RETRY_TIMEOUT_MS / 1000} s, ${RECORDS} records. Then ${STREAMS} workers whose stream of events brings nothing any more while their requests pass, and one of two workers that alone loses its way to the server.`,
  seconds: 130,
  run,
};
