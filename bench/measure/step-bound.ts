import { setTimeout } from "node:timers/promises";
import { job } from "../../src/jobs/deletion/job.ts";
import type { Deletion } from "../../src/jobs/deletion/message.ts";
import { createSteps } from "../../src/jobs/deletion/steps.ts";
import { silentLog } from "../../src/support/log.ts";
import { encodeEnvelope } from "../../src/worker/envelope.ts";
import { NEVER_MS } from "../../src/worker/execution.ts";
import { startExecutor } from "../../src/worker/executor.ts";
import { defineJob, type StepTools, type WorkflowContext } from "../../src/worker/job.ts";
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

const run = async ({ quick, onProgress }: Run) => {
  const count = quick ? 50 : EXECUTIONS;
  await using lab = await openLab({ settings: { LEASE_TTL_MS: String(LEASE_TTL_MS) } });
  const proxy = await lab.watchRequests();
  const leases = watchLeases();
  proxy.onAnswer = leases.onAnswer;

  let [running, most, applied] = [0, 0, 0];
  const effects = {
    simulateTrouble: async () => {
      running += 1;
      most = Math.max(most, running);
      await setTimeout(STEP_MS);
    },
    records: {
      deleteBatch: async ({ batch }: { batch: number }) => {
        running -= 1;
        applied += 1;
        return { deleted: 1, rowsRemain: batch === 0, repeated: false };
      },
    },
  };
  const wakeAt = Date.now() + WAKE_AFTER_MS;
  /** The deletion's steps, in an order in which all executions wake at the same moment. */
  const measured = defineJob({
    ...job,
    open: () => effects,
    createSteps: (_: object, tools: StepTools, settings: { readonly BATCH_SIZE: number }) =>
      createSteps(effects, tools, settings),
    createWorkflow: ({ deleteBatch }) =>
      function* workflow(ctx: WorkflowContext, deletion: Deletion): Generator<unknown, void, unknown> {
        yield* ctx.run(deleteBatch, deletion, 0);
        yield* ctx.sleep(Math.max(0, wakeAt - Date.now()));
        yield* ctx.run(deleteBatch, deletion, 1);
      },
  });
  await using executor = await startExecutor({
    job: measured,
    settings: { ...lab.settings, RESONATE_URL: proxy.url, STEP_CONCURRENCY },
    name: "bench",
    effects,
    producer: lab.producer,
    untilReachable: (reach) => reach(),
    log: silentLog,
  });

  onProgress(0.1, `${count} executions of two batches`);
  const begun = await Promise.all(
    Array.from({ length: count }, (_, i) => {
      const id = `${lab.settings.KAFKA_GROUP_ID}-${i}`;
      const place = { partition: 0, offset: String(i), redrives: 0, original: null };
      const args = [{ recordId: id, batchesPerSegment: 5 }];
      return executor.begin(id, encodeEnvelope({ id, ...place, deadline: Date.now() + NEVER_MS, args }));
    }),
  );
  onProgress(0.3, "all are begun");
  await Promise.all(begun.map(({ ended }) => ended()));
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
    notes: [`${heartbeats} heartbeats were sent: one for all records that are awake, three to a lease.`],
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
