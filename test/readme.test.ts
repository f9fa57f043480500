import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { test } from "node:test";

const read = (path: string) => readFileSync(new URL(`../${path}`, import.meta.url), "utf8");
const readme = read("README.md");

test("the README shows the workflow as it is", () => {
  const source = read("src/jobs/deletion/workflow.ts");
  const workflow = source.slice(source.indexOf("export const createWorkflow")).trimEnd();
  assert.ok(workflow.length > 500);
  assert.ok(readme.includes(workflow));
});

test("every mode of failure in the README has a test of that name in the file it names, and the other way round", () => {
  const folder = new URL("./process/", import.meta.url);
  const tested = new Set<string>();
  for (const file of readdirSync(folder)) {
    for (const [, mode] of readFileSync(new URL(file, folder), "utf8").matchAll(
      /test\(\s*[`"]mode (\d+):/g,
    )) {
      tested.add(`${mode} ${file.replace(".test.ts", "")}`);
    }
  }
  const told = [...readme.matchAll(/\| mode (\d+), \[?([\w-]+)/g)].map(([, mode, file]) => `${mode} ${file}`);
  assert.deepEqual(new Set(told), tested);
  const modes = new Set(told.map((own) => Number(own.split(" ")[0])));
  assert.ok(modes.size >= 22);
  assert.deepEqual(
    [...modes].toSorted((a, b) => a - b),
    Array.from({ length: modes.size }, (_, i) => i + 1),
    "numbered without a gap",
  );
});
