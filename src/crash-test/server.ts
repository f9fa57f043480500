import { mock } from "node:test";
import { isSuccess, LocalNetwork, type Message, type Send } from "@resonatehq/sdk";
import { INTERNAL_ID, requestHead } from "../resonate/request.ts";
import { isMark } from "../worker/takeovers.ts";

/** Where a run's clock stands at its beginning: each run sees the same time. */
const START = Date.UTC(2026, 0, 1);
/** A timer that is further away is none: an execution that waits for it waits for ever. */
const HORIZON_MS = 20 * 365 * 24 * 3_600_000;

/** A task's timer that ends its lease; the other kind has its message written again. */
const LEASE = 1;

/** Whether a promise or task is an execution's, not one that a worker has for itself. */
const isExecution = ({ id }: { readonly id: string }): boolean => !id.startsWith(INTERNAL_ID);

/** A message of the server, and where it goes. */
interface Mail {
  readonly address: string;
  readonly message: Message;
}

/** A Resonate server in this process, with the clock of everything in it. */
export interface Server extends Disposable {
  readonly send: Send;
  /** Waits on the server's clock. */
  readonly sleep: (ms: number) => Promise<void>;
  /**
   * The next thing that happens: a message for one of these addresses, or else the jump to the next timer. Nothing,
   * when there is neither.
   *
   * @param alive the workers that keep the leases they hold
   */
  next(addresses: ReadonlySet<string>, alive: ReadonlySet<string>): Promise<Mail | "time" | undefined>;
  /** Jumps by so many milliseconds. */
  tick(ms: number): Promise<void>;
  /** What has not ended: promises, tasks and leases, one line each. */
  unfinished(): Promise<string[]>;
  /** The state of a promise, `undefined` where there is none. */
  stateOf(id: string): Promise<string | undefined>;
}

/**
 * Starts a server whose clock stands still while anything goes on, and jumps to the next timer when nothing does.
 *
 * Sound, since no one can tell it from a slow clock: `Date` is the same for the server, the SDK, the worker and the
 * job; timers fire in the order of their times, one time at a time; what a timer sets off has ended before the next
 * fires. Delivery is as a real server's: `LocalNetwork` keeps a message until its task is taken and writes it again
 * after 30 s; here one is read from its outbox, so its own delivery by `setTimeout` reaches nobody.
 *
 * One server at a time in a process.
 */
export const startServer = (): Server => {
  mock.timers.enable({ apis: ["Date"], now: START });
  // Without init its own clock does not tick.
  const network = new LocalNetwork();
  const sleepers = new Set<{ readonly due: number; readonly wake: () => void }>();
  const delivered = new Set<string>();

  const snap = async () => {
    const answer = await network.send({ kind: "debug.snap", head: requestHead(), data: {} });
    if (!isSuccess(answer)) throw new Error(`expected a snapshot, got ${JSON.stringify(answer.data)}`);
    return answer.data;
  };
  const goTo = async (time: number) => {
    mock.timers.setTime(Math.max(time, Date.now()));
    await network.send({ kind: "debug.tick", head: requestHead(), data: { time: Date.now() } });
    for (const sleeper of sleepers) {
      if (sleeper.due > Date.now()) continue;
      sleepers.delete(sleeper);
      sleeper.wake();
    }
  };

  return {
    send: (request) => network.send(request),
    sleep: (ms) => {
      const { promise, resolve } = Promise.withResolvers<void>();
      sleepers.add({ due: Date.now() + ms, wake: resolve });
      return promise;
    },
    next: async (addresses, alive) => {
      const { promises, promiseTimeouts, messages, tasks, taskTimeouts } = await snap();
      const mail = messages.find(({ address, message }, index) => {
        if (!addresses.has(address)) return false;
        // The outbox keeps what it had; a message about a task that is written again has another time of retry.
        let once = String(index);
        if (message.kind === "execute") {
          const { id, version } = message.data.task;
          const task = tasks.find((one) => one.id === id);
          if (task?.state !== "pending" || task.version !== version) return false;
          once = `${id} ${version} ${taskTimeouts.find((one) => one.id === id)?.timeout}`;
        }
        if (delivered.has(once)) return false;
        delivered.add(once);
        return true;
      });
      if (mail) return mail;

      // A message to an address that nobody has, as a sleep's is, changes nothing when it is written again.
      const targets = new Map(promises.map(({ id, tags }) => [id, tags["resonate:target"] ?? ""]));
      const taskTimers = taskTimeouts.filter(({ id }) => addresses.has(targets.get(id) ?? ""));
      const next = Math.min(
        ...[...promiseTimeouts.filter(isExecution), ...taskTimers].map(({ timeout }) => timeout),
        ...[...sleepers].map(({ due }) => due),
      );
      if (next > START + HORIZON_MS) return;
      const isDue = ({ timeout, type }: { timeout: number; type: number }) =>
        timeout === next && type === LEASE;
      const due = new Set(taskTimers.filter(isDue).map(({ id }) => id));
      const renewed = tasks.filter(({ id, pid = "" }) => due.has(id) && alive.has(pid));
      if (renewed.length > 0) {
        // In place of the workers' heartbeats, which are real timers.
        mock.timers.setTime(Math.max(next - 1, Date.now()));
        for (const { pid = "", id, version } of renewed) {
          await network.send({
            kind: "task.heartbeat",
            head: requestHead(),
            data: { pid, tasks: [{ id, version }] },
          });
        }
        return "time";
      }
      await goTo(next);
      return "time";
    },
    tick: (ms) => goTo(Date.now() + ms),
    unfinished: async () => {
      const { promises, tasks } = await snap();
      return [
        ...promises
          // What marks a step that was cut stays: it counts how often.
          .filter((one) => one.state === "pending" && isExecution(one) && !isMark(one))
          .map(({ id }) => `promise ${id} is pending`),
        ...tasks
          .filter((one) => one.state !== "fulfilled" && isExecution(one))
          .map(
            ({ id, state, pid }) => `task ${id} is ${state}${pid === undefined ? "" : `, leased to ${pid}`}`,
          ),
      ];
    },
    stateOf: async (id) => {
      const answer = await network.send({ kind: "promise.get", head: requestHead(), data: { id } });
      return isSuccess(answer) ? answer.data.promise.state : undefined;
    },
    [Symbol.dispose]: () => mock.timers.reset(),
  };
};
