import { Resonate } from "@resonatehq/sdk";
import { createSteps } from "../../src/jobs/deletion/steps.ts";
import { createWorkflow } from "../../src/jobs/deletion/workflow.ts";
import { connectLeased } from "../../src/resonate/leases.ts";
import { createResonateLogger } from "../../src/resonate/log.ts";
import { silentLog } from "../../src/support/log.ts";
import { createSemaphore } from "../../src/support/semaphore.ts";
import { NEVER_MS } from "../../src/worker/step-options.ts";
import { openLab } from "../lab.ts";
import { watchLeases } from "../lease-watch.ts";
import type { Measurement, Run } from "../measurement.ts";

const EXECUTIONS = 500;
const STEP_CONCURRENCY = 16;
const STEP_MS = 200;
/** From the start to the moment at which all wake, in milliseconds: their first steps are done by then. */
const WAKE_AFTER_MS = 10_000;
/** Shorter than the last of them has to wait: 500 steps of 200 ms, 16 at once, take 6.3 s. */
const LEASE_TTL_MS = 2000;

const logger = createResonateLogger(silentLog);

const run = async ({ quick, onProgress }: Run) => {
  const count = quick ? 50 : EXECUTIONS;
  await using lab = await openLab({ settings: { LEASE_TTL_MS: String(LEASE_TTL_MS) } });
  const { config } = lab;
  const proxy = await lab.watchRequests();
  const leases = watchLeases();
  proxy.onAnswer = leases.onAnswer;

  let [running, most, applied] = [0, 0, 0];
  const network = connectLeased({
    url: proxy.url,
    token: "",
    group: config.RESONATE_GROUP,
    pid: "bench",
    ttl: LEASE_TTL_MS,
    logger,
  });
  const resonate = new Resonate({ network, pid: "bench", ttl: LEASE_TTL_MS, logger });
  const steps = createSteps({
    records: {
      deleteBatch: ({ batch }) => {
        running -= 1;
        applied += 1;
        return { deleted: 1, rowsRemain: batch === 0, repeated: false };
      },
    },
    producer: lab.producer,
    topics: {
      source: config.TOPIC_SOURCE,
      completions: config.TOPIC_COMPLETIONS,
      deadLetters: config.TOPIC_DEAD_LETTERS,
    },
    batchSize: 1,
    running: createSemaphore(STEP_CONCURRENCY),
    latencyMs: STEP_MS,
    failureRate: 0,
    random: () => 0.5,
    // The first thing a batch does once it runs is to look at the clock.
    now: () => {
      running += 1;
      most = Math.max(most, running);
      return Date.now();
    },
    log: silentLog,
  });
  const wakeAt = Date.now() + WAKE_AFTER_MS;
  const workflow = resonate.register(
    createWorkflow(steps, {
      target: network.match(config.RESONATE_GROUP),
      get pauseMs() {
        return wakeAt - Date.now();
      },
      maxAttempts: 1,
      retryDelayMs: 1000,
    }),
  );
  for (const step of Object.values(steps)) resonate.register(step);

  onProgress(0.1, `${count} executions of two batches`);
  try {
    const handles = await Promise.all(
      Array.from({ length: count }, (_, i) => {
        const recordId = `${config.KAFKA_GROUP_ID}-${i}`;
        const record = {
          recordId,
          partition: 0,
          offset: String(i),
          attempt: 0,
          deadline: Date.now() + NEVER_MS,
          batchesPerSegment: 5,
        };
        return workflow.beginRun(recordId, record, 0, resonate.options({ timeout: NEVER_MS }));
      }),
    );
    onProgress(0.3, "all are begun");
    await Promise.all(handles.map((handle) => handle.result()));
  } finally {
    await resonate.stop();
  }
  const { lost, refused, mostHeld, heartbeats } = leases;
  return {
    findings: [
      {
        claim: `at most ${STEP_CONCURRENCY} steps at once, however many executions are awake`,
        holds: most <= STEP_CONCURRENCY,
        seen: `${most} at once, while up to ${mostHeld} executions were awake`,
      },
      {
        claim: "waiting costs no lease",
        holds: lost === 0 && refused === 0 && applied === 2 * count,
        seen: `${lost} leases lost, ${refused} requests refused, ${applied} batches for ${count} records of two, lease ${LEASE_TTL_MS / 1000} s`,
      },
    ],
    notes: [`${heartbeats} heartbeats were sent: one for each record that is awake, three to a lease.`],
    tables: [],
    plots: [],
    samples: { executions: count, most, mostHeld, lost, refused, applied, heartbeats },
  };
};

export const stepBound: Measurement = {
  name: "step-bound",
  title: "Step bound",
  method: `${EXECUTIONS} executions of two batches are begun at once and all wake at the same moment ${WAKE_AFTER_MS / 1000} s later. Steps take ${STEP_MS} ms, so the last waits longer than its lease of ${LEASE_TTL_MS / 1000} s. Steps are counted in the process they run in, leases in the requests.`,
  seconds: 20,
  run,
};
