import { setImmediate as turn } from "node:timers/promises";
import type { KafkaMessage } from "kafkajs";
import { describe } from "../support/errors.ts";
import { executionId } from "../worker/dispatch.ts";
import type { AnyJob } from "../worker/job.ts";
import { parseJobSettings } from "../worker/settings.ts";
import { listen } from "../worker/telemetry.ts";
import { type Counts, createPlan, type Fault } from "./faults.ts";
import { type Finding, type FindingKind, judge, judgeFailure } from "./judge.ts";
import { createKafka, errorOf, findDifference } from "./kafka.ts";
import type { EffectCall, Scenario } from "./scenario.ts";
import { startServer } from "./server.ts";
import { groupAddress, startTestWorker, type TestWorker } from "./worker.ts";
import type { Trace, World } from "./world.ts";

/** More messages and timers than a run takes that comes to an end. */
const MAX_EVENTS = 3000;
/** How long a step may take in real milliseconds, for which the clock stands still. */
const MAX_STEP_MS = 10_000;
/** How often a message is redriven at most. */
const MAX_REDRIVES = 3;
/** In milliseconds: what a lease's end or a message that is written again would set off, it has by then. */
const AFTERMATH_MS = 3_600_000;

/** How a run went. */
export interface Run {
  readonly findings: readonly Finding[];
  /** What happened since the last fault: the points at which another one may strike. */
  readonly counts: Counts;
  /** Whether all faults struck before the run came to its end. */
  readonly struck: boolean;
  readonly trace: readonly Trace[];
}

/**
 * Runs a scenario's message to its end, with these faults on the way: a worker that is killed is followed by another,
 * and a message whose execution failed is redriven.
 *
 * @throws {SettingsError} when the scenario's settings are not valid
 */
export const runScenario = async (
  job: AnyJob,
  scenario: Scenario<object>,
  faults: readonly Fault[],
): Promise<Run> => {
  const settings = parseJobSettings(job, scenario.settings ?? {});
  const plan = createPlan(faults);
  const mayRepeat = faults.some(({ kind }) => !kind.startsWith("fail-"));
  const mayFail = faults.some(({ kind }) => kind.startsWith("fail-"));
  const findings: Finding[] = [];
  const find = (kind: FindingKind, reason: string) => findings.push({ kind, reason });
  const trace: Trace[] = [];
  const calls: EffectCall[] = [];
  const workers: TestWorker[] = [];
  const kafka = createKafka(scenario.message, settings.TOPIC_COMPLETIONS);
  const effects = scenario.effects();
  let [tries, redrives] = [0, 0];

  using server = startServer();
  using _ = listen("execution.order-changed", ({ reason }) => find("unstable-order", reason));
  const startWorker = (): TestWorker => {
    const worker = startTestWorker(world, `worker-${workers.length + 1}`);
    workers.push(worker);
    return worker;
  };
  const deliver = (worker: TestWorker, message: KafkaMessage) => {
    worker.dispatch(message).then(
      (taken) => {
        if (!taken) kafka.waiting.push(message);
      },
      (error) => find("failed", `the message was not dispatched: ${describe(error)}`),
    );
  };
  const world: World = {
    job,
    settings,
    server,
    plan,
    effects,
    producer: kafka.producer,
    onEffect: (call) => calls.push(call),
    onStrayEffect: (name) => find("effect-in-workflow", `${name} was called outside of any step`),
    onTrace: (what) => trace.push(what),
    redeliver: () => deliver(startWorker(), kafka.original),
    nextTry: () => ++tries,
  };

  /** Lets everything go on that waits for nothing but its turn: one turn runs all that follows from promises. */
  const settle = async () => {
    const from = performance.now();
    do {
      await turn();
      if (performance.now() - from > MAX_STEP_MS)
        return find("never-ends", "a step or a dispatch has no end");
    } while (workers.some(({ busy }) => busy));
    return;
  };
  /** The next thing that happens; false when there is nothing left to happen. */
  const step = async (): Promise<boolean> => {
    await settle();
    const living = workers.filter(({ dead }) => !dead);
    const last = living.at(-1);
    if (last === undefined) {
      startWorker();
      return true;
    }
    const message = kafka.waiting.shift();
    if (message) {
      deliver(last, message);
      return true;
    }
    const addresses = new Set([groupAddress(world), ...living.map(({ address }) => address)]);
    const next = await server.next(addresses, new Set(living.map(({ pid }) => pid)));
    if (next === undefined || next === "time") return next !== undefined;
    (living.find(({ address }) => address === next.address) ?? last).receive(next.message);
    return true;
  };
  const runToEnd = async () => {
    for (let event = 0; event < MAX_EVENTS && findings.length === 0; event++) {
      if (await step()) continue;
      if (plan.strikesAtEnd()) {
        world.redeliver();
        continue;
      }
      if (!mayFail || kafka.letters.length === 0 || redrives === MAX_REDRIVES) return;
      if (!mayRepeat && kafka.letters.length > 1)
        find("dead-letter", `${kafka.letters.length} for one failure`);
      for (const letter of kafka.letters) {
        const difference = findDifference(letter, kafka.original);
        if (difference) find("dead-letter", `the dead letter has ${difference}`);
      }
      kafka.redrive();
      redrives += 1;
    }
    if (findings.length === 0) find("never-ends", `no end after ${MAX_EVENTS} messages and timers`);
  };

  try {
    await runToEnd();
    const counts = { ...plan.counts };
    const struck = plan.left.length === 0;
    if (findings.length === 0) {
      for (const letter of kafka.letters) findings.push(judgeFailure(errorOf(letter), calls));
      const left = await server.unfinished();
      for (const { dead, pid, inFlight } of workers) {
        if (!dead && inFlight > 0) left.push(`${pid} counts ${inFlight} executions as under way`);
      }
      if (left.length > 0) find("left-over", left.join("; "));
    }
    if (findings.length === 0) {
      const reading = job.read(kafka.original, settings);
      const state = reading.ok && (await server.stateOf(executionId(reading.id, redrives)));
      if (state !== "resolved") find("failed", `expected a finished execution, got ${state}`);

      const length = trace.length;
      await server.tick(AFTERMATH_MS);
      await step();
      await settle();
      const [late] = trace.slice(length);
      if (late && findings.length === 0) find("goes-on", `${late.what} of ${late.worker} after the end`);
      for (const { pid, dead } of workers) {
        const after = trace.slice(
          trace.findIndex(({ worker, what }) => worker === pid && what === "killed") + 1,
        );
        const own = dead && after.find(({ worker }) => worker === pid);
        if (own) find("goes-on", `${own.what} of ${pid} after it was killed`);
      }
    }
    if (findings.length === 0)
      findings.push(...judge(scenario, { effects, calls, published: kafka.published }));
    return { findings, counts, struck, trace };
  } finally {
    for (const worker of workers) await worker.stop();
  }
};
