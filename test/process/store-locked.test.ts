import assert from "node:assert/strict";
import { DatabaseSync } from "node:sqlite";
import { test } from "node:test";
import { setTimeout } from "node:timers/promises";
import { setScene } from "../helpers/deletion-scene.ts";
import { linesWith, partitionsOf, until } from "../helpers/scene.ts";

/** How long the store is locked, in milliseconds: leases and group membership would end meanwhile, twice. */
const LOCKED_MS = Number(process.env.OUTAGE_SECONDS ?? 25) * 1000;
const RECORDS = Number(process.env.LOCKED_RECORDS ?? 100);

test("mode 36: while another process locks the row store, no lease is lost and the group is kept", {
  timeout: 240_000,
}, async (t) => {
  const scene = await setScene(t, { LEASE_TTL_MS: "10000", SESSION_TIMEOUT_MS: "10000" });
  const workers = await Promise.all([scene.startWorker(), scene.startWorker()]);
  await until("each worker to own one partition", () => {
    const owned = workers.map(partitionsOf);
    return owned.every(({ length }) => length === 1) && owned[0]?.[0] !== owned[1]?.[0];
  });
  const joins = () => workers.map((worker) => linesWith(worker, "joined consumer group").length);
  const before = joins();

  using other = new DatabaseSync(scene.settings.RECORDS_DB, { timeout: 5000 });
  const ids = Array.from({ length: RECORDS }, (_, i) => `locked-${i}`);
  await scene.records.addRows(new Map(ids.map((id) => [id, scene.settings.BATCH_SIZE])));
  const started = new Set<string>();
  scene.proxy.onAnswer = (request) => {
    if (request.kind === "task.create") started.add(request.data.action.data.id);
  };
  other.exec("BEGIN IMMEDIATE");
  await scene.produce(...ids.map((id, i) => ({ key: id, value: JSON.stringify(id), partition: i % 2 })));
  await until("every execution to be started", () => started.size === RECORDS);

  /** Executions by the heartbeats that were granted: a start whose answer was lost has none. */
  const held = new Set<string>();
  const lost: string[] = [];
  let heartbeats = 0;
  scene.proxy.onAnswer = (request, status) => {
    const { kind, data } = request;
    if (kind === "task.heartbeat" && status === 200) {
      heartbeats += 1;
      for (const { id } of data.tasks) held.add(id);
    }
    if (kind === "task.acquire" && status === 200 && held.has(data.id)) lost.push(`lease of ${data.id}`);
    if ((kind === "task.heartbeat" || kind === "task.fence") && status !== 200)
      lost.push(`${kind} ${status}`);
  };
  await setTimeout(LOCKED_MS);
  for (const worker of workers) {
    assert.ok(linesWith(worker, "database is locked").length > 0, "batches are tried");
  }
  assert.ok(heartbeats > 0 && held.size > 0, "leases are kept by heartbeats");
  assert.deepEqual(lost, [], "no lease that is held goes elsewhere, no heartbeat or checkpoint is refused");
  other.exec("COMMIT");

  await until("every completion", () => ids.every((id) => scene.completionsOf(id).length > 0), 120_000);
  assert.deepEqual(joins(), before, "nobody had to join the group again");
  assert.equal((await scene.records.ledger()).length, RECORDS);
  assert.equal(await scene.records.countRows(), 0);
});
