import type { Message } from "@resonatehq/sdk";
import type { KafkaMessage } from "kafkajs";
import type { Transport } from "../resonate/transport.ts";
import { silentLog } from "../support/log.ts";
import { createDispatch } from "../worker/dispatch.ts";
import { type Executor, startExecutor } from "../worker/executor.ts";
import { watchEffects } from "./effects.ts";
import { createGate } from "./gate.ts";
import { watchJob } from "./watched-job.ts";
import type { World } from "./world.ts";

/** A worker of this process that can be killed at any point: the executor and the dispatch of src/worker. */
export interface TestWorker {
  readonly pid: string;
  /** Where the server writes to it alone. */
  readonly address: string;
  readonly dead: boolean;
  /** Whether it waits for anything but time. */
  readonly busy: boolean;
  /** Executions it began and has not seen end. */
  readonly inFlight: number;
  /** A message of the server. */
  receive(message: Message): void;
  /** Takes charge of a message; false when the worker died first, so that it stays in Kafka. */
  dispatch(message: KafkaMessage): Promise<boolean>;
  stop(): Promise<void>;
}

/** The address of all workers. */
export const groupAddress = ({ settings }: Pick<World, "settings">): string =>
  `poll://any@${settings.RESONATE_GROUP}`;

export const startTestWorker = (world: World, pid: string): TestWorker => {
  const { job, settings } = world;
  const gate = createGate(world, pid);
  const address = `poll://uni@${settings.RESONATE_GROUP}/${pid}`;
  const callbacks: ((message: Message) => void)[] = [];
  const transport: Transport = {
    send: gate.send,
    [Symbol.asyncDispose]: async () => {},
    messages: {
      unicast: address,
      anycast: groupAddress(world),
      match: (target) => `poll://any@${target}`,
      init: async () => {},
      stop: async () => {},
      onReconnected: () => {},
      onReceive: (callback) => void callbacks.push(callback),
    },
  };
  const starting = startExecutor({
    job: watchJob(world),
    settings,
    name: pid,
    effects: watchEffects(world.effects, gate.onEffect),
    producer: gate.producer,
    untilReachable: (reach) => reach(),
    log: silentLog,
    transport,
    sleep: gate.sleep,
  });
  let executor: Executor | undefined;
  let dispatching = 0;
  const started = starting.then((one) => {
    executor = one;
    return one;
  });

  const createOwnDispatch = ({ service, begin, inFlight }: Executor) =>
    createDispatch({
      read: (message) => job.read(message, settings),
      service,
      // A dead worker must not leave a timer behind.
      begin: (id, text) => Promise.race([begin(id, text), gate.died]),
      inFlight,
      producer: world.producer,
      topics: { source: settings.TOPIC_SOURCE, deadLetters: settings.TOPIC_DEAD_LETTERS },
      workflowTimeoutMs: settings.WORKFLOW_TIMEOUT_MS,
      now: Date.now,
      log: silentLog,
    });

  return {
    pid,
    address,
    get dead() {
      return gate.death.aborted;
    },
    get busy() {
      if (gate.death.aborted) return false;
      return gate.busy || dispatching > 0 || executor === undefined || executor.runner.running > 0;
    },
    get inFlight() {
      return executor?.inFlight.size ?? 0;
    },
    receive: (message) => {
      for (const callback of callbacks) callback(message);
    },
    dispatch: async (message) => {
      dispatching += 1;
      try {
        await createOwnDispatch(await started)(message, 0, gate.death);
        return true;
      } catch (error) {
        if (gate.death.aborted) return false;
        throw error;
      } finally {
        dispatching -= 1;
      }
    },
    stop: async () => (await started)[Symbol.asyncDispose](),
  };
};
