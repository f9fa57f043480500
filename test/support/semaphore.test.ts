import assert from "node:assert/strict";
import { test } from "node:test";
import { createSemaphore } from "../../src/support/semaphore.ts";
import { createRandom, randomBelow } from "../helpers/unit-random.ts";
import { settle } from "../helpers/unit-time.ts";

test("there are as many places as were made, the others come in order of arrival", async () => {
  const semaphore = createSemaphore(2);
  const got: number[] = [];
  for (const who of [1, 2, 3, 4, 5]) void semaphore.acquire().then(() => got.push(who));
  await settle();
  assert.deepEqual(got, [1, 2]);
  semaphore.release();
  await settle();
  assert.deepEqual(got, [1, 2, 3]);
  semaphore.release();
  semaphore.release();
  await settle();
  assert.deepEqual(got, [1, 2, 3, 4, 5]);
});

test("places given back while nobody waits are there for those who come", async () => {
  const semaphore = createSemaphore(1);
  for (let round = 0; round < 3; round++) {
    await semaphore.acquire();
    semaphore.release();
  }
  const got: number[] = [];
  for (const who of [1, 2]) void semaphore.acquire().then(() => got.push(who));
  await settle();
  assert.deepEqual(got, [1]);
});

test("who is aborted while it waits takes no place", async () => {
  const semaphore = createSemaphore(1);
  await semaphore.acquire();
  const reason = new Error("stopping");
  const stop = new AbortController();
  const aborted = assert.rejects(semaphore.acquire(stop.signal), reason);
  const patient = semaphore.acquire(new AbortController().signal);
  stop.abort(reason);
  await aborted;
  semaphore.release();
  await patient;
  await assert.rejects(semaphore.acquire(stop.signal), reason, "aborted before it came");
  semaphore.release();
  await semaphore.acquire();
});

test("who has a place is not disturbed by an abort", async () => {
  const semaphore = createSemaphore(1);
  await semaphore.acquire();
  const stop = new AbortController();
  const waiting = semaphore.acquire(stop.signal);
  semaphore.release();
  stop.abort();
  await waiting;
  semaphore.release();
  await semaphore.acquire();
});

test("whatever comes and goes, no place is lost and none is given twice", async () => {
  const random = createRandom(4);
  const semaphore = createSemaphore(3);
  let [inside, most, served, aborted] = [0, 0, 0, 0];
  const visit = async () => {
    const stop = new AbortController();
    if (random() < 0.3) setImmediate(() => stop.abort());
    try {
      await semaphore.acquire(stop.signal);
    } catch {
      aborted += 1;
      return;
    }
    inside += 1;
    most = Math.max(most, inside);
    for (let turn = randomBelow(random, 4); turn > 0; turn--) await new Promise(setImmediate);
    inside -= 1;
    served += 1;
    semaphore.release();
  };
  await Promise.all(Array.from({ length: 500 }, visit));
  assert.deepEqual([most, served + aborted], [3, 500]);
  assert.ok(aborted > 50 && served > 50, `${aborted} aborted, ${served} served`);
  for (let place = 0; place < 3; place++) await semaphore.acquire();
});
