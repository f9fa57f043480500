import assert from "node:assert/strict";
import { test } from "node:test";
import { executeOurs, executePlain } from "../../bench/in-memory.ts";
import { settings } from "../../src/jobs/deletion/settings.ts";

const segment = Number(settings.BATCHES_PER_SEGMENT.fallback);

test("A long record costs no more requests per batch than a short one", async () => {
  const [short, long] = await Promise.all([executeOurs(10, segment), executeOurs(100, segment)]);
  const [few, many] = [short.requests / 10, long.requests / 100];
  assert.ok(few <= 10 && many <= 10, `expected at most 10 requests per batch, got ${few} and ${many}`);
  assert.ok(
    Math.max(few, many) <= 1.1 * Math.min(few, many),
    `expected counts within 10 % of each other, got ${few} at 10 batches and ${many} at 100`,
  );
});

test("The same record always costs the same requests", async () => {
  const [one, other] = await Promise.all([executeOurs(23, segment), executeOurs(23, segment)]);
  assert.deepEqual(one.kinds, other.kinds);
});

test("The yardstick grows: the count would show it", async () => {
  const [short, long] = await Promise.all([executePlain(10), executePlain(40)]);
  assert.ok(
    long.requests / 40 > 2 * (short.requests / 10),
    `expected growth, got ${short.requests} requests at 10 batches and ${long.requests} at 40`,
  );
});
