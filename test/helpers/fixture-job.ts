import { fileURLToPath } from "node:url";
import { spawnWorker, type WorkerProcess } from "../../src/demo/worker-process.ts";
import type { Env, Scene } from "./scene.ts";

const folder = new URL("../fixtures/jobs/", import.meta.url);

/** The path of a file of test/fixtures/jobs. */
export const fixture = (file: string): string => fileURLToPath(new URL(file, folder));

/** Starts a worker of the job in a file of test/fixtures/jobs; `ready` says when it consumes and executes. */
export const spawnFixture = ({ env, folder: cwd, resources }: Scene, file: string, overrides: Env = {}) =>
  resources.use(spawnWorker({ ...env, ...overrides }, { cwd, args: [fixture(file)] }));

/** The same, once it is ready. */
export const startFixture = async (scene: Scene, file: string, overrides?: Env): Promise<WorkerProcess> => {
  const worker = spawnFixture(scene, file, overrides);
  await worker.ready;
  return worker;
};
