import { type Message, type Network, type Request, Resonate, type Send } from "@resonatehq/sdk";
import type { KafkaMessage } from "kafkajs";
import { endedIn } from "../resonate/connection.ts";
import { keepLeases, type Lease } from "../resonate/leases.ts";
import { createResonateLogger } from "../resonate/log.ts";
import { silentLog } from "../support/log.ts";
import { createBegin } from "../worker/begin.ts";
import { createSendDeadLetter } from "../worker/dead-letter.ts";
import { createDispatch } from "../worker/dispatch.ts";
import { createExecution, executionName, NEVER_MS } from "../worker/execution.ts";
import { createInFlight } from "../worker/in-flight.ts";
import type { Steps } from "../worker/job.ts";
import { createPublish } from "../worker/publish.ts";
import { createStepRunner } from "../worker/step.ts";
import { currentTry, watchEffects } from "./effects.ts";
import { createGate } from "./gate.ts";
import type { World } from "./world.ts";

/** The address of all workers. */
export const ANY_WORKER = "poll://any@crash-test";

/** A worker as `startWorker` of src/worker wires it, without Kafka, that can be killed at any point. */
export interface TestWorker {
  readonly pid: string;
  /** Where the server writes to it alone. */
  readonly address: string;
  readonly dead: boolean;
  /** Whether it waits for anything but time. */
  readonly busy: boolean;
  readonly held: readonly Lease[];
  /** Executions it began and has not seen end. */
  readonly inFlight: number;
  /** A message of the server. */
  receive(message: Message): void;
  /** Takes charge of a message; false when the worker died first, so that it stays in Kafka. */
  dispatch(message: KafkaMessage): Promise<boolean>;
  stop(): Promise<void>;
}

/** The same steps; a try of one knows its idempotency key. */
const withKeys = (steps: Steps): Steps =>
  Object.fromEntries(
    Object.entries(steps).map(([name, step]) => [
      name,
      (context, ...args) => {
        const tried = currentTry.getStore();
        if (tried) tried.idempotencyKey = context.idempotencyKey;
        return step(context, ...args);
      },
    ]),
  );

export const startTestWorker = (world: World, pid: string): TestWorker => {
  const { job, settings, replays } = world;
  const gate = createGate(world, pid);
  const log = silentLog;
  const logger = createResonateLogger(log);
  const now = Date.now;
  const ttl = settings.LEASE_TTL_MS;
  const topics = { source: settings.TOPIC_SOURCE, deadLetters: settings.TOPIC_DEAD_LETTERS };
  const address = `poll://uni@crash-test/${pid}`;
  let dispatching = 0;
  let receive: (message: Message) => void = () => {};

  const publish = createPublish(gate.producer, settings.TOPIC_COMPLETIONS);
  const effects = watchEffects(world.effects, gate.onEffect);
  const steps = withKeys(job.createSteps(effects, { publish, log, now }, settings));
  const runner = gate.watch(
    createStepRunner({
      concurrency: settings.STEP_CONCURRENCY,
      maxAttempts: settings.STEP_MAX_ATTEMPTS,
      retryDelayMs: settings.RETRY_DELAY_MS,
      now,
      sleep: gate.sleep,
      log,
    }),
  );

  const inFlight = createInFlight(settings.MAX_IN_FLIGHT);
  const registered = executionName(job.name, topics.source);
  const beginnings = createBegin(registered, (id, text) => execution.beginRun(id, text, lasting));
  const send: Send = async (typed) => {
    const request: Request = typed;
    const response = await gate.send(typed);
    beginnings.onAnswer(request, response);
    const ended = endedIn(request, response);
    if (ended !== undefined) inFlight.leave(ended);
    if (request.kind === "task.suspend" || request.kind === "task.release") {
      inFlight.mayEndElsewhere(request.data.id);
    }
    return response;
  };
  const leases = keepLeases({ send }, { pid, ttl, logger });
  const network: Network = {
    unicast: address,
    anycast: ANY_WORKER,
    match: (target) => `poll://any@${target}`,
    init: async () => {},
    stop: async () => leases.stop(),
    send: leases.send,
    recv: (callback) => {
      receive = callback;
    },
  };
  const resonate = new Resonate({ network, pid, ttl, logger });
  const execution = resonate.register(
    registered,
    replays.execution(
      createExecution({
        job: job.name,
        name: registered,
        steps,
        workflow: replays.workflow(job.createWorkflow(steps, settings), steps),
        runner,
        target: ANY_WORKER,
        sendDeadLetter: createSendDeadLetter({ producer: gate.producer, job: job.name, topics, now, log }),
      }),
    ),
  );
  const lasting = resonate.options({ timeout: NEVER_MS, target: ANY_WORKER });
  const dispatch = createDispatch({
    read: (message) => job.read(message, settings),
    // A dead worker must not leave a timer behind.
    begin: (id, text) => Promise.race([beginnings.begin(id, text), gate.died]),
    inFlight,
    producer: world.producer,
    topics,
    workflowTimeoutMs: settings.WORKFLOW_TIMEOUT_MS,
    now,
    log,
  });

  return {
    pid,
    address,
    get dead() {
      return gate.death.aborted;
    },
    get busy() {
      return !gate.death.aborted && (gate.busy || dispatching > 0 || runner.running > 0);
    },
    get held() {
      return leases.held;
    },
    get inFlight() {
      return inFlight.size;
    },
    receive: (message) => receive(message),
    dispatch: async (message) => {
      dispatching += 1;
      try {
        await dispatch(message, 0, gate.death);
        return true;
      } catch (error) {
        if (gate.death.aborted) return false;
        throw error;
      } finally {
        dispatching -= 1;
      }
    },
    stop: () => resonate.stop(),
  };
};
