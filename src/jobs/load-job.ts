import { existsSync, readdirSync } from "node:fs";
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";
import type { Scenario } from "../crash-test/scenario.ts";
import { SettingsError } from "../support/settings.ts";
import type { AnyJob } from "../worker/job.ts";

const folder = new URL("./", import.meta.url);
const fileOf = (name: string) => new URL(`${name}/job.ts`, folder);

/** The job of a command that names none. */
export const DEFAULT_JOB = "deletion";

/** The names of all jobs: the folders beside this file that hold a `job.ts`. */
export const listJobs = (): string[] =>
  readdirSync(folder, { withFileTypes: true })
    .filter((entry) => entry.isDirectory() && existsSync(fileOf(entry.name)))
    .map(({ name }) => name)
    .sort();

const isJob = (value: unknown): value is AnyJob =>
  value !== null && typeof value === "object" && "name" in value && "createWorkflow" in value;

/**
 * Loads the job that a command names: what the `job.ts` of its folder, or of the path that is given, exports as `job`.
 *
 * @param positionals the command's words: at most one
 * @throws {SettingsError} when there is no such folder or file, or it exports no job
 */
export const loadJob = async ([name = DEFAULT_JOB, ...more]: readonly string[]): Promise<AnyJob> => {
  if (/[/\\]/.test(name)) return importJob(pathToFileURL(resolve(name)), name);
  const names = listJobs();
  if (!names.includes(name) || more.length > 0) {
    const got = JSON.stringify([name, ...more].join(" "));
    throw new SettingsError([`expected the name of a job (${names.join(", ")}), got ${got}`]);
  }
  const job = await importJob(fileOf(name), name);
  if (job.name === name) return job;
  throw new SettingsError([
    `src/jobs/${name}/job.ts: expected a job named ${name}, got one named ${job.name}`,
  ]);
};

const importJob = async (file: URL, name: string): Promise<AnyJob> => {
  const { job }: { job?: unknown } = existsSync(file) ? await import(file.href) : {};
  if (isJob(job)) return job;
  throw new SettingsError([
    `${name}: expected a file that exports a job as 'job', got ${existsSync(file) ? "another" : "none"}`,
  ]);
};

const isScenario = (value: unknown): value is Scenario<object> =>
  value !== null && typeof value === "object" && "effects" in value && "expect" in value;

/**
 * Loads the scenario of a job's crash test: what the `crash-test.ts` of its folder exports as `scenario`.
 *
 * @param name of a job that `listJobs` names
 * @throws {SettingsError} when its folder has no such file, or its file exports no scenario
 */
export const loadScenario = async (name: string): Promise<Scenario<object>> => {
  const file = new URL(`${name}/crash-test.ts`, folder);
  if (existsSync(file)) {
    const { scenario }: { scenario?: unknown } = await import(file.href);
    if (isScenario(scenario)) return scenario;
  }
  throw new SettingsError([`src/jobs/${name}/crash-test.ts: expected a file with an export 'scenario'`]);
};
