import { spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { readLogLine } from "../../src/support/log-line.ts";
import type { Env, Scene } from "./scene.ts";

/** How a command ended. */
export interface CommandOutcome {
  /** Its exit code, or the signal that ended it. */
  readonly end: number | NodeJS.Signals;
  /** What it printed, line by line; of its log the messages. */
  readonly stdout: readonly string[];
  readonly stderr: readonly string[];
  readonly ms: number;
}

const BIN = join(import.meta.dirname, "../../src/bin");

const toLines = (printed: string) => (printed === "" ? [] : printed.trimEnd().split("\n"));

interface CommandOptions {
  readonly args?: readonly string[];
  readonly settings?: Env;
  readonly kill?: AbortSignal;
}

/** Runs `npm run <name>` to its end, whatever that is. It is killed when `kill` is aborted. */
export const runCommand = async (
  name: string,
  { env, folder }: Pick<Scene, "env" | "folder">,
  { args = [], settings = {}, kill = AbortSignal.timeout(120_000) }: CommandOptions = {},
): Promise<CommandOutcome> => {
  const startedAt = Date.now();
  const child = spawn(process.execPath, [join(BIN, `${name}.ts`), ...args], {
    cwd: folder,
    env: { ...process.env, ...env, ...settings },
    stdio: ["ignore", "pipe", "pipe"],
  });
  const onKill = () => child.kill("SIGKILL");
  kill.addEventListener("abort", onKill);
  const exited = once(child, "exit");
  const [stdout, stderr] = await Promise.all([text(child.stdout), text(child.stderr)]);
  const [code, signal] = await exited;
  kill.removeEventListener("abort", onKill);
  return {
    end: signal ?? code,
    stdout: toLines(stdout),
    stderr: toLines(stderr).map((line) => readLogLine(line).msg),
    ms: Date.now() - startedAt,
  };
};

/** Runs `npm run redrive` to its end, whatever that is. */
export const runRedrive = (
  scene: Pick<Scene, "env" | "folder">,
  options?: CommandOptions,
): Promise<CommandOutcome> => runCommand("redrive", scene, options);
