import { type ChildProcess, execFile, spawn } from "node:child_process";
import { chmod, cp, mkdir, mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";

const ROOT = join(import.meta.dirname, "../..");
/** The user that stands for the image's own: it owns nothing. */
const NOBODY = 65_534;

/** How this machine reaches a package registry, which a build is told, too: nothing else of its environment. */
const NETWORK = /^(?:(?:https?|no|all)_proxy|node_extra_ca_certs|npm_config_(?:registry|cafile))$/i;
const network = () => Object.entries(process.env).filter(([name]) => NETWORK.test(name));

/** An instruction of a Dockerfile, such as `RUN npm ci`. */
export interface Instruction {
  readonly name: string;
  readonly value: string;
}

/** The instructions of the Dockerfile, in order. Those of ours take one line each. */
export const readDockerfile = async (): Promise<Instruction[]> => {
  const text = await readFile(join(ROOT, "Dockerfile"), "utf8");
  return text.split("\n").flatMap((line) => {
    const [, name, value] = /^([A-Z]+) (.+)$/.exec(line) ?? [];
    return name === undefined || value === undefined ? [] : [{ name, value }];
  });
};

/** What the Dockerfile makes, in a folder in place of an image. */
export interface Image extends AsyncDisposable {
  /** Its WORKDIR, and the user that its processes run as. */
  readonly folder: string;
  readonly uid: number;
  /** Starts ENTRYPOINT and CMD, as the USER. */
  start(env: Readonly<Record<string, string>>): ChildProcess;
  /** Runs the HEALTHCHECK's command, as the USER; resolves with its exit code. */
  checkHealth(env: Readonly<Record<string, string>>): Promise<number>;
}

/** The words of an instruction in exec form. */
const wordsOf = (value: string | undefined): string[] => {
  const words: unknown = JSON.parse(/\[.*\]$/.exec(value ?? "")?.[0] ?? "[]");
  if (Array.isArray(words) && words.length > 0) return words.map(String);
  throw new Error(`expected a command in exec form, got ${value}`);
};

/**
 * Follows the Dockerfile without an engine: each COPY and RUN in an empty folder, with this Node, and no environment but
 * what it says. Needs root, to give its processes to another user.
 *
 * @throws when an instruction is unknown, or its command fails
 */
export const buildImage = async (): Promise<Image> => {
  await using opened = new AsyncDisposableStack();
  const base = await mkdtemp(join(tmpdir(), "image-"));
  opened.defer(() => rm(base, { recursive: true, force: true }));
  await chmod(base, 0o755);
  await mkdir(join(base, "bin"));
  // The checkout may be closed to others.
  await cp(process.execPath, join(base, "bin/node"));

  const own: Record<string, string> = {
    PATH: `${join(base, "bin")}:/usr/local/bin:/usr/bin:/bin`,
    HOME: base,
  };
  const said = new Map<string, string>();
  let folder = base;
  for (const { name, value } of await readDockerfile()) {
    const words = value.split(" ");
    const target = join(folder, words.at(-1) ?? "");
    if (name === "WORKDIR") {
      folder = join(base, value);
      await mkdir(folder, { recursive: true });
    } else if (name === "COPY") {
      for (const source of words.slice(0, -1)) {
        const to = words.at(-1)?.endsWith("/") ? join(target, source) : target;
        await cp(join(ROOT, source), to, { recursive: true });
      }
    } else if (name === "RUN") {
      await promisify(execFile)("/bin/sh", ["-c", value], {
        cwd: folder,
        env: { ...Object.fromEntries(network()), ...own },
      });
    } else if (name === "ENV") {
      for (const word of words) {
        const [key = "", text = ""] = word.split("=", 2);
        own[key] = text;
      }
    } else if (["FROM", "USER", "EXPOSE", "HEALTHCHECK", "ENTRYPOINT", "CMD"].includes(name)) {
      said.set(name, value);
    } else throw new Error(`expected an instruction that is known here, got ${name}`);
  }
  if (!said.has("USER") || said.get("USER") === "root") throw new Error("expected a USER without rights");

  const run = ([file = "", ...args]: readonly string[], env: Readonly<Record<string, string>>) =>
    spawn("setpriv", [`--reuid=${NOBODY}`, `--regid=${NOBODY}`, "--clear-groups", "--", file, ...args], {
      cwd: folder,
      env: { ...own, ...env },
      stdio: ["ignore", "pipe", "pipe"],
    });
  const resources = opened.move();
  return {
    folder,
    uid: NOBODY,
    start: (env) => run([...wordsOf(said.get("ENTRYPOINT")), ...wordsOf(said.get("CMD"))], env),
    checkHealth: (env) => {
      const { promise, resolve } = Promise.withResolvers<number>();
      run(wordsOf(said.get("HEALTHCHECK")), env).once("close", (code) => resolve(code ?? -1));
      return promise;
    },
    [Symbol.asyncDispose]: () => resources.disposeAsync(),
  };
};
