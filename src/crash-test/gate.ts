import type { Request, Send } from "@resonatehq/sdk";
import type { Producer } from "kafkajs";
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
}

/** What code in a dead process gets: nothing, ever. */
const never = <T>(): Promise<T> => new Promise(() => {});

const isPromise = (value: unknown): value is PromiseLike<unknown> =>
  value !== null && typeof value === "object" && "then" in value && typeof value.then === "function";

/** Whether a request is about an execution: not a heartbeat, nor what a worker asks for itself. */
const counts = ({ kind }: Request): boolean =>
  (kind.startsWith("task.") && kind !== "task.heartbeat") || kind === "promise.register_listener";

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
    if (!counts(request)) return server.send(typed);
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
  const perform = (name: string, call: () => unknown): unknown => {
    if (death.signal.aborted) return never();
    const result = call();
    return isPromise(result) ? finish(name, result) : result;
  };
  const onEffect: OnCall = (name, args, call) => {
    const tried = currentTry.getStore();
    if (death.signal.aborted) return never();
    if (tried === undefined || tried.ended) world.onStrayEffect(name);
    else world.onEffect({ name, args, ...tried });
    return perform(name, call);
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
        const produce = () => world.producer.send(record);
        // The dead letter is the worker's own step, not the job's.
        if (record.topic !== settings.TOPIC_COMPLETIONS) await perform("enqueueDeadLetter", produce);
        else await onEffect("publish", record.messages, produce);
        return [];
      },
    },
    sleep: (ms) => (death.signal.aborted ? never() : server.sleep(ms)),
  };
};
