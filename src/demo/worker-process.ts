import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { type LogLine, readLogLine } from "../support/log-line.ts";

/** The entry file of npm start. */
export const START = fileURLToPath(new URL("../bin/start.ts", import.meta.url));

/** A worker in a process of its own, started as `npm start` starts one. */
export interface WorkerProcess extends AsyncDisposable {
  readonly pid: number;
  /** All it has printed, line by line: the messages of its log, and what else it said. */
  readonly lines: readonly string[];
  /** The same with the fields of its log. */
  readonly log: readonly LogLine[];
  /** Resolves with the worker's name once it consumes and executes; rejects when the process ends before. */
  readonly ready: Promise<string>;
  /** Resolves once the process has ended, with its exit code or the signal that ended it. */
  readonly exited: Promise<number | NodeJS.Signals>;
  /** Sends a signal. Returns false when the process has ended already. */
  kill(signal: NodeJS.Signals): boolean;
}

/**
 * Starts a worker whose settings are `settings` over this process's environment, without any `.env` of the current
 * folder; `args` are its words on the command line, such as the name of its job. `entry` may name another program that
 * says when it is ready as a worker does, and `command` what the command line begins with. Disposing of it kills it, if
 * it still runs, and waits for its end.
 */
export const spawnWorker = (
  settings: Readonly<Record<string, string>>,
  {
    cwd,
    nodeOptions = [],
    entry = START,
    args = [],
    command = [],
  }: {
    cwd: string;
    nodeOptions?: readonly string[];
    entry?: string;
    args?: readonly string[];
    command?: readonly string[];
  },
): WorkerProcess => {
  const [program = "", ...words] = [...command, process.execPath, ...nodeOptions, entry, ...args];
  const child: ChildProcess = spawn(program, words, {
    cwd,
    // Two cannot have one port; and its log is read here.
    env: { ...process.env, HTTP_PORT: "", LOG_LEVEL: "info", LOG_FORMAT: "json", ...settings },
    stdio: ["ignore", "pipe", "pipe"],
  });
  const log: LogLine[] = [];
  const lines: string[] = [];
  const ready = Promise.withResolvers<string>();
  ready.promise.catch(() => {});
  for (const stream of [child.stdout, child.stderr]) {
    if (!stream) continue;
    createInterface({ input: stream }).on("line", (text) => {
      const line = readLogLine(text);
      log.push(line);
      lines.push(line.msg);
      const name = /worker (\S+) is ready/.exec(line.msg)?.[1];
      if (name) ready.resolve(name);
    });
  }
  const exited = once(child, "close").then(([code, signal]): number | NodeJS.Signals => {
    ready.reject(
      new Error(`expected worker ${child.pid} to start, got its end (${signal ?? code}): ${lines.at(-1)}`),
    );
    return signal ?? code;
  });
  exited.catch(() => {});
  return {
    pid: child.pid ?? 0,
    lines,
    log,
    ready: ready.promise,
    exited,
    kill: (signal) => child.kill(signal),
    [Symbol.asyncDispose]: async () => {
      // SIGKILL reaches a process that is stopped, too.
      child.kill("SIGKILL");
      await exited;
    },
  };
};
