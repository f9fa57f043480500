import { spawn } from "node:child_process";
import { once } from "node:events";
import { text } from "node:stream/consumers";
import { fileURLToPath } from "node:url";
import { readLogLine } from "../../src/support/log-line.ts";
import type { Env, Scene } from "./scene.ts";

const REDRIVE = fileURLToPath(new URL("../../src/bin/redrive.ts", import.meta.url));

/** How a redrive ended. */
export interface RedriveOutcome {
  /** Its exit code, or the signal that ended it. */
  readonly end: number | NodeJS.Signals;
  /** What it printed, line by line; of its log the messages. */
  readonly stdout: readonly string[];
  readonly stderr: readonly string[];
  readonly ms: number;
}

const toLines = (printed: string) => (printed === "" ? [] : printed.trimEnd().split("\n"));

/** Runs `npm run redrive` to its end, whatever that is. It is killed when `kill` is aborted. */
export const runRedrive = async (
  { env, folder }: Pick<Scene, "env" | "folder">,
  {
    args = [],
    settings = {},
    kill = AbortSignal.timeout(120_000),
  }: { args?: readonly string[]; settings?: Env; kill?: AbortSignal } = {},
): Promise<RedriveOutcome> => {
  const startedAt = Date.now();
  const child = spawn(process.execPath, [REDRIVE, ...args], {
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
