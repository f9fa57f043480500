import { fork } from "node:child_process";
import { setTimeout } from "node:timers/promises";
import { isSuccess } from "@resonatehq/sdk";
import { logLevel } from "kafkajs";
import { leaveGroupFor } from "../kafka/client.ts";
import { accessOf } from "../resonate/access-settings.ts";
import type { Lease } from "../resonate/leases.ts";
import { createResonateLogger } from "../resonate/log.ts";
import { openTransport } from "../resonate/open-transport.ts";
import { requestHead } from "../resonate/request.ts";
import { MAX_PORT } from "../support/addresses.ts";
import { type Log, silentLog } from "../support/log.ts";
import { withTimeout } from "../support/retry.ts";
import { SettingsError } from "../support/settings.ts";
import { STOP_MESSAGE } from "../support/signals.ts";
import { isReport } from "./report.ts";
import type { WorkerSettings } from "./settings.ts";
import { type ChildWorker, type SupervisorOptions, supervise } from "./supervisor.ts";

/**
 * A server learns a moment later that a dead worker's connection is closed, in milliseconds: what is handed back before
 * that it may send to the dead one.
 */
const DISCONNECT_MS = 50;
/** How long a hand-back may take, in milliseconds: what has not gone back by then expires. */
const HAND_BACK_MS = 2000;

export interface ForkOptions {
  /** How many worker processes. */
  readonly count: number;
  /** The program of a worker, and its words on the command line. */
  readonly program: string;
  readonly args: readonly string[];
  readonly settings: WorkerSettings;
  readonly log: Log;
  readonly signal: AbortSignal;
}

/** The port of a worker's metrics. Two cannot share one, so each has the next. Empty is none, 0 any that is free. */
const portOf = ({ HTTP_PORT }: WorkerSettings, place: number) =>
  HTTP_PORT === "" || HTTP_PORT === 0 ? HTTP_PORT : HTTP_PORT + place;

/** Starts the program as a child process that ends when this one does. */
const forkWorker = (
  { program, args, settings }: Pick<ForkOptions, "program" | "args" | "settings">,
  place: number,
  onReport: Parameters<SupervisorOptions["start"]>[1],
): ChildWorker => {
  const child = fork(program, args, { env: { ...process.env, HTTP_PORT: String(portOf(settings, place)) } });
  const { promise: ended, resolve } = Promise.withResolvers<number | NodeJS.Signals>();
  child.on("message", (message) => {
    if (isReport(message)) onReport(message);
  });
  // Not "exit", after which reports may still come.
  child.once("close", (code, signal) => resolve(signal ?? code ?? 1));
  child.on("error", () => {
    if (child.pid === undefined) resolve(1);
  });
  return {
    pid: child.pid ?? 0,
    stop: () => void child.send(STOP_MESSAGE, () => {}),
    kill: () => void child.kill("SIGKILL"),
    ended,
  };
};

/**
 * Runs `count` worker processes until `signal` is aborted, and keeps them running: see supervisor.ts. Each serves its
 * metrics at a port of its own, from HTTP_PORT on.
 *
 * @throws {SettingsError} when there are not so many ports from HTTP_PORT on
 * @throws {StartError} when they cannot start
 */
export const forkWorkers = async (options: ForkOptions): Promise<void> => {
  const { count, settings, log, signal } = options;
  if (Number(portOf(settings, count - 1)) > MAX_PORT) {
    const expected = `expected a port of at most ${MAX_PORT - count + 1} for ${count} workers`;
    throw new SettingsError([`HTTP_PORT: ${expected}, got "${settings.HTTP_PORT}"`]);
  }
  const quiet = { clientId: "supervisor", log: silentLog, level: logLevel.NOTHING, retries: 1 };
  // What fails is told in the one line of a worker's death.
  await using transport = openTransport({
    access: accessOf(settings),
    group: settings.RESONATE_GROUP,
    pid: quiet.clientId,
    logger: createResonateLogger(silentLog),
  });
  const release = async (data: Lease) => {
    const request = { kind: "task.release", head: requestHead(), data } as const;
    return isSuccess(await withTimeout(transport.send(request), HAND_BACK_MS, "a lease to be handed back"));
  };

  await supervise({
    count,
    start: (place, onReport) => forkWorker(options, place, onReport),
    handBack: async (leases) => {
      await setTimeout(DISCONNECT_MS);
      // A lease that was granted anew since has another version, and is refused.
      const answers = await Promise.allSettled(leases.map(release));
      return answers.filter((answer) => answer.status === "fulfilled" && answer.value).length;
    },
    leaveGroup: (memberId) => {
      const member = { groupId: settings.KAFKA_GROUP_ID, memberId };
      // Where it fails, the broker notices by itself after SESSION_TIMEOUT_MS.
      leaveGroupFor(settings, quiet, member).catch(() => {});
    },
    graceMs: settings.SHUTDOWN_GRACE_MS,
    log,
    signal,
  });
};
