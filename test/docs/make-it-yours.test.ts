import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("../../", import.meta.url));
const page = readFileSync(join(root, "docs/make-it-yours.md"), "utf8");

/** The files that the page shows: each is the first block of code below its name. */
const shown = [...page.matchAll(/^### `([\w-]+\.ts)`$[\s\S]*?^```ts\n([\s\S]*?)^```$/gm)].map(
  ([, name = "", code = ""]) => ({ name, code }),
);

/** A checkout in which somebody has done what the page says. */
const follow = (t: TestContext): string => {
  const folder = mkdtempSync(join(tmpdir(), "make-it-yours-"));
  t.after(() => rmSync(folder, { recursive: true }));
  for (const name of ["src", "bench", "test", "package.json", "tsconfig.json", ".biome.json"]) {
    cpSync(join(root, name), join(folder, name), { recursive: true });
  }
  symlinkSync(join(root, "node_modules"), join(folder, "node_modules"));
  cpSync(join(folder, "src/jobs/orders"), join(folder, "src/jobs/mine"), { recursive: true });
  for (const { name, code } of shown) writeFileSync(join(folder, "src/jobs/mine", name), code);
  return folder;
};

test("the page shows each file of the folder that it copies", () => {
  const names = new Set(shown.map(({ name }) => name));
  const copied = new Set(readdirSync(join(root, "src/jobs/orders")));
  assert.deepEqual([...copied.difference(names)], []);
});

/** Loads the job by its name and crashes it at every point, and again at some points of what follows. */
const CRASH = `
  import { crashEverywhere } from "./src/crash-test/crash-everywhere.ts";
  import { loadJob, loadScenario } from "./src/jobs/load-job.ts";
  const { failures, points } = await crashEverywhere(await loadJob(["mine"]), await loadScenario("mine"), { maxPairs: 20 });
  if (failures.length > 0 || points < 50) throw new Error(JSON.stringify({ points, failures }));
  process.exit();
`;

test("the job on the page passes the linter, the checks of types and of what is unused, and the crash test", (t) => {
  const cwd = follow(t);
  const run = (command: string, args: readonly string[]) => {
    const { status, stdout, stderr } = spawnSync(command, args, { cwd, encoding: "utf8", timeout: 120_000 });
    assert.equal(status, 0, `${stdout}${stderr}`);
  };
  const tool = (name: string) => join(root, "node_modules/.bin", name);
  run(tool("biome"), ["check", "--error-on-warnings", "--vcs-enabled=false", "src/jobs/mine"]);
  run(tool("tsc"), []);
  run(tool("knip"), []);
  run(process.execPath, ["--input-type=module", "-e", CRASH]);
});
