import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { json } from "node:stream/consumers";
import { fileURLToPath } from "node:url";
import type { StackAddress } from "../src/demo/external-stack.ts";

const file = (name: string) => fileURLToPath(new URL(`bin/${name}.ts`, import.meta.url));

/** Starts a fresh embedded stack in a process of its own; the server adds `delayMs` to each request. */
export const startStackProcess = async (delayMs: number): Promise<StackAddress & AsyncDisposable> => {
  const child: ChildProcess = spawn(process.execPath, [file("stack"), String(delayMs)], {
    stdio: ["pipe", "pipe", "inherit"],
  });
  if (!child.stdout) throw new Error("expected a pipe from the stack's process");
  const [line] = await once(createInterface({ input: child.stdout }), "line");
  const { kafkaBrokers, resonateUrl }: StackAddress = JSON.parse(String(line));
  return {
    kafkaBrokers,
    resonateUrl,
    [Symbol.asyncDispose]: async () => {
      const exited = once(child, "exit");
      child.kill("SIGKILL");
      await exited;
    },
  };
};

/** The entry file of the plain worker. */
export const PLAIN = file("plain");

/** To be loaded before a program that is to be profiled. */
export const PROFILED = file("profiled");

/** Runs the bare loop in a process of its own; resolves with the times of its answers, in milliseconds. */
export const runBareLoop = async (
  url: string,
  { count, concurrency, client }: { count: number; concurrency: number; client: "sdk" | "lean" },
): Promise<number[]> => {
  const args = [file("bare"), url, String(count), String(concurrency), client];
  const child: ChildProcess = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "inherit"] });
  if (!child.stdout) throw new Error("expected a pipe from the bare loop's process");
  const times: unknown = await json(child.stdout);
  if (!Array.isArray(times)) throw new Error(`expected an array of times, got ${typeof times}`);
  return times.map(Number);
};
