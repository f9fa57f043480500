import type { Request, Send } from "@resonatehq/sdk";
import type { Producer } from "kafkajs";
import type { StepRunner } from "../worker/step.ts";
import { currentTry, type OnCall } from "./effects.ts";
import type { World } from "./world.ts";

/** Between a worker and the world: all that leaves the worker passes here, until it is killed. */
export interface Gate {
  /** Aborted when the worker is killed. */
  readonly death: AbortSignal;
  /** Rejects when the worker is killed. */
  readonly died: Promise<never>;
  /** Whether an effect is under way. */
  readonly busy: boolean;
  readonly send: Send;
  readonly onEffect: OnCall;
  readonly producer: Pick<Producer, "send">;
  readonly sleep: (ms: number) => Promise<void>;
  /** The same runner, whose steps know that they are steps, and fail where the plan says so. */
  watch(runner: StepRunner): StepRunner;
}

/** A failure for good that the plan ordered. */
class OrderedFailure extends Error {
  readonly code = "ORDERED_FAILURE";
  readonly canRetry = false;
  override name = "OrderedFailure";
  constructor(step: string) {
    super(`step ${step} was made to fail`);
  }
}

/** What code in a dead process gets: nothing, ever. */
const never = <T>(): Promise<T> => new Promise(() => {});

const isPromise = (value: unknown): value is PromiseLike<unknown> =>
  value !== null && typeof value === "object" && "then" in value && typeof value.then === "function";

export const createGate = (world: World, pid: string): Gate => {
  const { settings, server, plan } = world;
  const death = new AbortController();
  const died = Promise.withResolvers<never>();
  died.promise.catch(() => {});
  let underWay = 0;

  const die = <T>(): Promise<T> => {
    world.onTrace({ worker: pid, what: "killed" });
    const error = new Error("the worker was killed");
    death.abort(error);
    died.reject(error);
    return never();
  };

  const send: Send = async (typed) => {
    const request: Request = typed;
    if (death.signal.aborted) return never();
    // A real timer's, should a run take that long: the server renews leases by itself.
    if (request.kind === "task.heartbeat") return server.send(typed);
    plan.count("requests");
    if (plan.strikes("redeliver")) world.redeliver();
    if (plan.strikes("before")) return die();
    world.onTrace({ worker: pid, what: request.kind });
    // LocalNetwork has applied a request when `send` returns.
    const answer = server.send(typed);
    if (plan.strikes("after")) return die();
    const response = await answer;
    return death.signal.aborted ? never() : response;
  };

  const finish = async (name: string, result: PromiseLike<unknown>): Promise<unknown> => {
    underWay += 1;
    const [settled] = await Promise.allSettled([result]);
    underWay -= 1;
    if (death.signal.aborted) return never();
    world.onTrace({ worker: pid, what: `effect ${name}` });
    plan.count("effects");
    if (plan.strikes("effect")) return die();
    if (settled.status === "rejected") throw settled.reason;
    return settled.value;
  };
  const onEffect: OnCall = (name, args, call) => {
    if (death.signal.aborted) return never();
    const tried = currentTry.getStore();
    if (tried === undefined || tried.ended) world.onStrayEffect(name);
    else world.onEffect({ name, args, ...tried });
    const result = call();
    return isPromise(result) ? finish(name, result) : result;
  };

  return {
    death: death.signal,
    died: died.promise,
    get busy() {
      return underWay > 0;
    },
    send,
    onEffect,
    producer: {
      send: async (record) => {
        const name = record.topic === settings.TOPIC_COMPLETIONS ? "publish" : "enqueueDeadLetter";
        await onEffect(name, record.messages, () => world.producer.send(record));
        return [];
      },
    },
    sleep: (ms) => (death.signal.aborted ? never() : server.sleep(ms)),
    watch: (runner) => ({
      get running() {
        return runner.running;
      },
      run: (call, work) =>
        runner.run(call, async (attempt) => {
          if (death.signal.aborted) return never();
          const tried = { stepTry: world.nextTry(), step: call.name, idempotencyKey: "", ended: false };
          const counted = call.untilDone !== true;
          if (counted) plan.count("steps");
          if (counted && plan.strikes("fail-before")) throw new OrderedFailure(call.name);
          const failsAfter = counted && plan.strikes("fail-after");
          try {
            const result = await currentTry.run(tried, () => work(attempt));
            if (failsAfter) throw new OrderedFailure(call.name);
            return result;
          } finally {
            tried.ended = true;
          }
        }),
    }),
  };
};
