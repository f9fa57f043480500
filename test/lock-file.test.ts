import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

interface Locked {
  readonly integrity?: string;
  readonly hasInstallScript?: boolean;
}

/** Packages that fetch more than the lock file knows, each with what it is, and what that means. */
const FETCHES = new Map([
  [
    "node_modules/node",
    "its install script fetches the Node of this platform, which has no hash here: for development only",
  ],
]);

const lock: { packages: Record<string, Locked> } = JSON.parse(
  readFileSync(new URL("../package-lock.json", import.meta.url), "utf8"),
);
const packages = Object.entries(lock.packages).filter(([path]) => path !== "");

test("every package in the lock file has an integrity hash", (t) => {
  assert.ok(packages.length > 50);
  const without = packages.filter(([, { integrity = "" }]) => !integrity.startsWith("sha512-"));
  assert.deepEqual(
    without.map(([path]) => path),
    [],
    "npm leaves out the hashes of packages for other platforms when node_modules is there: make the lock file without it, by 'npm install --package-lock-only' in a folder with package.json alone",
  );
  for (const [path, why] of FETCHES) t.diagnostic(`${path} lacks one for a part: ${why}`);
});

test("no package has an install script, by which it could fetch what has no hash, but those that are known", () => {
  const scripted = packages.filter(([, { hasInstallScript }]) => hasInstallScript).map(([path]) => path);
  assert.deepEqual(scripted, [...FETCHES.keys()]);
});
