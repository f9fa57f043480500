import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { cpus, loadavg, release, totalmem } from "node:os";
import { findExternalStack } from "../src/demo/external-stack.ts";

/** What the numbers were measured on. */
export interface Machine {
  readonly cpu: string;
  readonly cores: number;
  readonly memoryGib: number;
  readonly system: string;
  readonly node: string;
  readonly sdk: string;
  readonly kafkajs: string;
  readonly stack: string;
  readonly commit: string;
  /** Processes of others that wanted to run, on average over the minute before. */
  readonly loadBefore: number;
}

const versionOf = (name: string): string => {
  const url = new URL(`../node_modules/${name}/package.json`, import.meta.url);
  const { version }: { version: string } = JSON.parse(readFileSync(url, "utf8"));
  return version;
};

const git = (...args: string[]): string =>
  execFileSync("git", args, { cwd: import.meta.dirname, encoding: "utf8" }).trim();

const describeCommit = (): string => {
  try {
    const changed = git("status", "--porcelain", "--", "../src", "../package-lock.json") !== "";
    return `${git("rev-parse", "--short", "HEAD")}${changed ? " with changes" : ""}`;
  } catch {
    return "not a git repository";
  }
};

export const describeMachine = (): Machine => ({
  cpu: cpus()[0]?.model.trim() ?? "unknown",
  cores: cpus().length,
  memoryGib: Math.round(totalmem() / 2 ** 30),
  system: `${process.platform} ${release()}`,
  node: process.version,
  sdk: versionOf("@resonatehq/sdk"),
  kafkajs: versionOf("kafkajs"),
  stack: findExternalStack(process.env)
    ? "as KAFKA_BROKERS and RESONATE_URL name it"
    : "embedded, in a process of its own",
  commit: describeCommit(),
  loadBefore: loadavg()[0] ?? Number.NaN,
});
