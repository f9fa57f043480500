import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { readMessage } from "../../../src/jobs/deletion/message.ts";
import { openRecords } from "../../../src/jobs/deletion/open-records.ts";
import { randomRows, seed } from "../../../src/jobs/deletion/seed.ts";
import { createRandom } from "../../helpers/unit-random.ts";

const makeSettings = (t: TestContext) => {
  const folder = mkdtempSync(join(tmpdir(), "seed-"));
  t.after(() => rmSync(folder, { recursive: true }));
  return { BATCH_SIZE: 10, RECORDS_DB: join(folder, "records.db") };
};

test("each record has its rows in the store by the time its message is made", async (t) => {
  const settings = makeSettings(t);
  const made = await Array.fromAsync(seed({ settings, count: 20, random: createRandom(1) }));
  await using records = await openRecords(settings.RECORDS_DB, { worker: "test" });
  assert.equal(
    await records.countRows(),
    made.reduce((sum, { rows }) => sum + rows, 0),
  );
  assert.equal(new Set(made.map(({ key }) => key)).size, 20);
  for (const { key, value, rows, about } of made) {
    const reading = readMessage({ value: Buffer.from(value) }, { BATCHES_PER_SEGMENT: 5 });
    assert.ok(reading.ok && reading.id === key);
    const batches = Math.ceil(rows / 10);
    assert.equal(about, `record ${key} with ${rows} rows in ${batches} batches`);
    for (let batch = 0; batch < batches; batch++) {
      const { rowsRemain } = await records.deleteBatch({
        key: `${key}/${batch}`,
        recordId: key,
        batch,
        size: 10,
      });
      assert.equal(rowsRemain, batch < batches - 1);
    }
  }
  assert.equal(await records.countRows(), 0);
});

test("every fourth record ends after each batch, on average", () => {
  const random = createRandom(2);
  const batches = Array.from({ length: 10_000 }, () => Math.ceil(randomRows(10, random) / 10));
  for (const n of [1, 2, 3]) {
    const reached = batches.filter((own) => own >= n).length;
    const ended = batches.filter((own) => own === n).length;
    assert.ok(Math.abs(ended / reached - 0.25) < 0.03, `${ended} of ${reached} end after ${n}`);
  }
});

test("a record has at least one row, whatever chance says", () => {
  for (const random of [() => 0, () => 0.25, () => 1 - Number.EPSILON]) {
    for (const size of [1, 10, 100_000]) {
      const rows = randomRows(size, random);
      assert.ok(Number.isInteger(rows) && rows >= 1, `${rows} rows`);
    }
  }
});
