import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import type { Lease } from "../../src/resonate/leases.ts";
import type { Report } from "../../src/worker/report.ts";
import { supervise } from "../../src/worker/supervisor.ts";
import { createMemoryLog } from "../helpers/unit-log.ts";
import { mockTimers } from "../helpers/unit-time.ts";

/** A worker process that ends when it is told to. */
interface FakeChild {
  readonly place: number;
  readonly report: (report: Report) => void;
  readonly end: (how: number | NodeJS.Signals) => void;
  isStopped: boolean;
  isKilled: boolean;
}

const setUp = (t: TestContext, { count = 1, canHandBack = true, canStart = (): boolean => true } = {}) => {
  const clock = mockTimers(t);
  const log = createMemoryLog();
  const stopping = new AbortController();
  const children: FakeChild[] = [];
  const handedBack: (readonly Lease[])[] = [];
  const left: string[] = [];
  let time = 0;
  const running = supervise({
    count,
    start: (place, report) => {
      if (!canStart()) throw new Error("spawn ENOMEM");
      const { promise: ended, resolve } = Promise.withResolvers<number | NodeJS.Signals>();
      const child: FakeChild = { place, report, end: resolve, isStopped: false, isKilled: false };
      children.push(child);
      return {
        pid: 100 + children.length,
        stop: () => {
          child.isStopped = true;
        },
        kill: () => {
          child.isKilled = true;
          resolve("SIGKILL");
        },
        ended,
      };
    },
    handBack: async (leases) => {
      handedBack.push(leases);
      return canHandBack ? leases.length : 0;
    },
    leaveGroup: (memberId) => void left.push(memberId),
    graceMs: 5000,
    log,
    signal: stopping.signal,
    now: () => time,
  });
  running.catch(() => {});
  const advance = async (ms: number) => {
    time += ms;
    await clock.advance(ms);
  };
  const stop = async () => {
    stopping.abort();
    await advance(0);
  };
  /** The worker started last in a place. */
  const latest = (place = 0): FakeChild => {
    const child = children.findLast((own) => own.place === place);
    assert.ok(child);
    return child;
  };
  return { running, children, latest, handedBack, left, log, advance, stop };
};

const READY: Report = { leases: [] };

test("what a dead worker held last is handed back, and its group is left", async (t) => {
  const { latest, handedBack, left, log, advance } = setUp(t);
  const { report, end } = latest();
  report({
    leases: [
      ["a", 1],
      ["b", 1],
    ],
    memberId: "m-1",
  });
  report({
    leases: [
      ["a", 0],
      ["b", 3],
      ["c", 2],
    ],
    memberId: "m-2",
  });
  report({
    leases: [
      ["d", 1],
      ["d", 0],
    ],
  });
  end("SIGKILL");
  await advance(0);
  assert.deepEqual(handedBack, [
    [
      { id: "b", version: 3 },
      { id: "c", version: 2 },
    ],
  ]);
  assert.deepEqual(left, ["m-2"]);
  assert.deepEqual(log.lines, [
    "warn worker 101 died (SIGKILL); handed back 2 leases; starting again in 1 s",
  ]);
});

test("the delay doubles up to 30 s, for each place of its own, and is the first again after a healthy while", async (t) => {
  const { children, latest, log, advance } = setUp(t, { count: 2 });
  latest(1).report(READY);
  for (const seconds of [1, 2, 4, 8, 16, 30, 30]) {
    latest(0).end(1);
    await advance(0);
    assert.match(log.lines.at(-1) ?? "", new RegExp(`died \\(exit code 1\\).* in ${seconds} s$`));
    const before = children.length;
    await advance(seconds * 1000 - 1);
    assert.equal(children.length, before);
    await advance(1);
    assert.equal(children.length, before + 1);
  }
  await advance(30_000);
  latest(0).end("SIGSEGV");
  await advance(0);
  assert.match(log.lines.at(-1) ?? "", /in 1 s$/);
  assert.equal(children.filter(({ place }) => place === 1).length, 1);
  latest(1).end("SIGKILL");
  await advance(0);
  assert.match(log.lines.at(-1) ?? "", /in 1 s$/);
});

test("leases that cannot be handed back are told", async (t) => {
  const { latest, log, advance } = setUp(t, { canHandBack: false });
  latest().report({ leases: [["a", 1]] });
  latest().end("SIGKILL");
  await advance(0);
  assert.match(log.lines[0] ?? "", /handed back 0 of 1 leases/);
});

test("a stop asks all workers, waits for them, and starts none again", async (t) => {
  const { running, children, handedBack, log, advance, stop } = setUp(t, { count: 3 });
  children[0]?.report({ leases: [["a", 1]] });
  children[2]?.end("SIGKILL");
  await advance(0);
  await stop();
  assert.deepEqual(
    children.map(({ isStopped }) => isStopped),
    [true, true, false],
  );
  let isOver = false;
  void running.then(() => {
    isOver = true;
  });
  children[0]?.end(0);
  await advance(5000);
  assert.equal(isOver, false, "one runs");
  children[1]?.end(0);
  await advance(0);
  assert.equal(isOver, true);
  await advance(60_000);
  assert.equal(children.length, 3);
  assert.deepEqual([handedBack, log.lines.length], [[[]], 1], "only of the one that died before");
});

test("a worker that does not stop in time is killed, and what it held is handed back", async (t) => {
  const { running, latest, handedBack, log, advance, stop } = setUp(t);
  latest().report({ leases: [["a", 1]] });
  await stop();
  await advance(6299);
  assert.equal(latest().isKilled, false);
  await advance(1);
  assert.equal(latest().isKilled, true);
  await running;
  assert.deepEqual(handedBack, [[{ id: "a", version: 1 }]]);
  assert.deepEqual(log.lines, ["warn worker 101 died (SIGKILL); handed back 1 leases"]);
});

test("a worker that ends by itself before any has begun to work ends all; by a signal it is started again", async (t) => {
  const { running, children, latest, advance } = setUp(t, { count: 2 });
  latest(0).end("SIGKILL");
  await advance(1000);
  assert.equal(children.length, 3);
  latest(0).end(1);
  await advance(0);
  assert.equal(latest(1).isStopped, true);
  latest(1).end(0);
  await assert.rejects(running, /expected worker 103 to start, got its end with exit code 1/);
});

test("once one has begun to work, a worker that cannot start is tried again", async (t) => {
  const { children, latest, advance } = setUp(t, { count: 2 });
  latest(1).report(READY);
  latest(0).end(1);
  await advance(1000);
  assert.equal(children.length, 3);
});

test("a process that cannot be made is tried again, once a worker has begun to work, and ends all before that", async (t) => {
  let canStart = true;
  const { children, latest, advance, log } = setUp(t, { count: 2, canStart: () => canStart });
  latest(1).report(READY);
  latest(0).end("SIGKILL");
  await advance(0);
  canStart = false;
  await advance(1000);
  assert.match(log.lines.at(-1) ?? "", /no process for a worker: spawn ENOMEM; starting again in 2 s$/);
  assert.equal(latest(1).isStopped, false);
  canStart = true;
  await advance(2000);
  assert.equal(children.length, 3);
  t.mock.timers.reset();

  const { running } = setUp(t, { canStart: () => false });
  await assert.rejects(running, /spawn ENOMEM/);
});

test("at a stop, too, the group is left for a worker that is killed, whatever it held", async (t) => {
  const { running, latest, left, advance, stop } = setUp(t);
  latest().report({ leases: [], memberId: "m-1" });
  await stop();
  await advance(6300);
  await running;
  assert.deepEqual([latest().isKilled, left], [true, ["m-1"]]);
});
