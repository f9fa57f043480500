import { spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import type { TestContext } from "node:test";
import { fileURLToPath } from "node:url";
import { readLogLine } from "../../src/support/log-line.ts";
import { type Env, until } from "./scene.ts";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));

/** A command of package.json, run by npm as a child process in a process group of its own, as a terminal does it. */
export interface NpmProcess {
  /** All they print, line by line; of a log the messages. */
  readonly lines: readonly string[];
  /** Resolves with npm's exit code or the signal that ended it. */
  readonly exited: Promise<number | NodeJS.Signals>;
  /** Sends a signal to npm alone. */
  kill(signal: NodeJS.Signals): void;
  /** Sends a signal to npm and all it has started, as Ctrl-C in a terminal does. */
  killGroup(signal: NodeJS.Signals): void;
  /** Closes the pipe that it prints to. */
  stopReading(): void;
}

/** Whether a process is there. */
export const isAlive = (pid: number): boolean => {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
};

/** Whether a process of a process group is there. */
export const isGroupAlive = (pid: number): boolean => isAlive(-pid);

/** The process ids in what is printed: of a worker itself, or of those that the demo starts. */
export const pidsIn = (lines: readonly string[]): number[] =>
  lines.flatMap((line) => {
    const pid = /worker (\d+)-\S+ is ready|is process (\d+)/.exec(line);
    return pid === null ? [] : [Number(pid[1] ?? pid[2])];
  });

/** Runs `npm run <args>`. What is left of it dies with the test. */
export const spawnNpm = (t: TestContext, args: readonly string[], env: Env = {}) => {
  const child = spawn("npm", ["run", "--silent", ...args], {
    cwd: ROOT,
    env: { ...process.env, npm_config_update_notifier: "false", ...env },
    stdio: ["ignore", "pipe", "pipe"],
    detached: true,
  });
  const { pid = 0 } = child;
  t.after(async () => {
    if (isGroupAlive(pid)) process.kill(-pid, "SIGKILL");
    await until("the end of the process group", () => !isGroupAlive(pid));
  });
  const lines: string[] = [];
  for (const input of [child.stdout, child.stderr]) {
    createInterface({ input }).on("line", (line) => lines.push(readLogLine(line).msg));
  }
  const exited = once(child, "exit").then(([code, signal]): number | NodeJS.Signals => signal ?? code);
  const npm: NpmProcess & { readonly pid: number } = {
    pid,
    lines,
    exited,
    kill: (signal) => void child.kill(signal),
    killGroup: (signal) => void process.kill(-pid, signal),
    stopReading: () => void child.stdout.destroy(),
  };
  return npm;
};
