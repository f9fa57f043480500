import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import type { Env, Scene } from "./scene.ts";

const REDRIVE = fileURLToPath(new URL("../../src/bin/redrive.ts", import.meta.url));

/** How a redrive ended. */
export interface RedriveOutcome {
  readonly code: number | null;
  /** What it printed, line by line. */
  readonly stdout: readonly string[];
  readonly stderr: readonly string[];
  readonly ms: number;
}

const toLines = (text: string) => (text === "" ? [] : text.trimEnd().split("\n"));

/** Starts `npm run redrive`; resolves when it has ended, whatever its exit code. `abort` kills it with SIGKILL. */
export const runRedrive = async (
  { env, folder }: Pick<Scene, "env" | "folder">,
  { args = [], settings = {}, abort }: { args?: readonly string[]; settings?: Env; abort?: AbortSignal } = {},
): Promise<RedriveOutcome> => {
  const startedAt = Date.now();
  const options = {
    cwd: folder,
    env: { ...process.env, ...env, ...settings },
    killSignal: "SIGKILL" as const,
    timeout: 120_000,
    ...(abort ? { signal: abort } : {}),
  };
  const end = (code: number | null, stdout: string, stderr: string): RedriveOutcome => ({
    code,
    stdout: toLines(stdout),
    stderr: toLines(stderr),
    ms: Date.now() - startedAt,
  });
  try {
    const { stdout, stderr } = await promisify(execFile)(process.execPath, [REDRIVE, ...args], options);
    return end(0, stdout, stderr);
  } catch (error) {
    if (!(error instanceof Error && "stdout" in error && "stderr" in error && "code" in error)) throw error;
    return end(
      typeof error.code === "number" ? error.code : null,
      String(error.stdout),
      String(error.stderr),
    );
  }
};
