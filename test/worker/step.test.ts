import assert from "node:assert/strict";
import { test } from "node:test";
import { OutageError } from "../../src/support/errors.ts";
import { ExecutionTimeoutError } from "../../src/worker/deadline.ts";
import { assertJson, ResultError } from "../../src/worker/result.ts";
import { createStepRunner, type StepRunnerOptions } from "../../src/worker/step.ts";
import type { StepCall } from "../../src/worker/step-call.ts";
import { createMemoryLog } from "../helpers/unit-log.ts";
import { createRandom, randomBelow } from "../helpers/unit-random.ts";
import { settle } from "../helpers/unit-time.ts";

const NOW = Date.parse("2026-11-23T21:00:00Z");
const call: StepCall = {
  name: "charge",
  key: "job/m-1/charge/0",
  messageId: "m-1",
  executionId: "x-1",
  deadline: NOW + 1000,
};

const build = (options: Partial<StepRunnerOptions> = {}) => {
  const delays: number[] = [];
  const log = createMemoryLog();
  const runner = createStepRunner({
    concurrency: 16,
    maxAttempts: 100,
    retryDelayMs: 1000,
    now: () => NOW,
    sleep: async (ms) => void delays.push(ms),
    log,
    ...options,
  });
  return { runner, delays, log };
};

/** A step that fails so many times, then gives the number of its attempt; it notes its attempts. */
const failing = (failures: number, error: unknown = new Error("refused")) => {
  const attempts: number[] = [];
  const work = async (attempt: number) => {
    attempts.push(attempt);
    if (attempts.length <= failures) throw error;
    return attempt;
  };
  return { attempts, work };
};

test("a step that succeeds runs once, without a word", async () => {
  const { runner, delays, log } = build();
  const { attempts, work } = failing(0);
  assert.equal(await runner.run(call, work), 1);
  assert.deepEqual([attempts, delays, log.lines, runner.running], [[1], [], [], 0]);
});

test("a step that fails is tried again, after pauses that double up to 30 s, with a line each", async () => {
  const { runner, delays, log } = build();
  const { attempts, work } = failing(8, new Error("no answer", { cause: new Error("ECONNRESET") }));
  assert.equal(await runner.run(call, work), 9);
  assert.deepEqual(attempts, [1, 2, 3, 4, 5, 6, 7, 8, 9]);
  assert.deepEqual(delays, [1000, 2000, 4000, 8000, 16_000, 30_000, 30_000, 30_000]);
  assert.equal(log.lines.length, 8);
  assert.deepEqual(log.lines.slice(0, 2), [
    "warn step charge of m-1 failed (attempt 1), next try in 1 s: no answer: ECONNRESET",
    "warn step charge of m-1 failed (attempt 2), next try in 2 s: no answer: ECONNRESET",
  ]);
});

test("a pause stays within 30 s however often a step has failed", async () => {
  const { runner, delays } = build({ maxAttempts: 2000 });
  const { work } = failing(1500);
  await runner.run(call, work);
  assert.equal(delays.at(-1), 30_000);
});

test("a step is tried so often and no more, and fails as its last attempt did", async () => {
  const { runner, delays, log } = build({ maxAttempts: 3 });
  const errors = [new Error("one"), new Error("two"), new Error("three")];
  let tries = 0;
  const failed = runner.run(call, async () => {
    throw errors[tries++];
  });
  await assert.rejects(failed, (error) => error === errors[2]);
  assert.deepEqual([tries, delays.length, log.lines.length], [3, 2, 2]);
});

test("a step that succeeds at its last attempt is no failure", async () => {
  const { runner } = build({ maxAttempts: 3 });
  const { work } = failing(2);
  assert.equal(await runner.run(call, work), 3);
});

test("an error that says a retry cannot help ends the step at once", async () => {
  const { runner, delays, log } = build();
  const { attempts, work } = failing(100, Object.assign(new Error("no such account"), { canRetry: false }));
  await assert.rejects(runner.run(call, work), /no such account/);
  assert.deepEqual([attempts, delays, log.lines], [[1], [], []]);
});

test("an outage counts as no attempt: the step is tried for as long as it lasts", async () => {
  const { runner, delays } = build({ maxAttempts: 2 });
  const outcomes = [
    ...Array.from({ length: 50 }, () => new OutageError("broker away")),
    new Error("refused"),
    ...Array.from({ length: 50 }, () => new OutageError("broker away")),
  ];
  const result = await runner.run(call, async (attempt) => {
    const error = outcomes.shift();
    if (error) throw error;
    return attempt;
  });
  assert.deepEqual([result, delays.length], [102, 101]);
});

test("a step that must be done is tried beyond the bound, whatever it throws", async () => {
  const { runner } = build({ maxAttempts: 2 });
  for (const error of [
    new Error("refused"),
    Object.assign(new Error("never"), { canRetry: false }),
    "text",
  ]) {
    const { work } = failing(20, error);
    assert.equal(await runner.run({ ...call, untilDone: true }, work), 21);
  }
});

test("a step that must be done is tried however late it is", async () => {
  const { runner } = build({ now: () => call.deadline + 1 });
  assert.equal(await runner.run({ ...call, untilDone: true }, failing(1).work), 2);
});

test("an outage that lasts is told, so that another worker may try; one that comes and goes is not", async () => {
  let time = NOW;
  const told: string[] = [];
  const { runner } = build({
    now: () => time,
    sleep: async (ms) => {
      time += ms;
    },
    handBack: (executionId) => told.push(`${executionId} after ${time - NOW}`),
  });
  const away = () => new OutageError("broker away");
  const errors = [away(), away(), away(), new Error("refused"), away(), away(), away()];
  const last = { ...call, deadline: Number.POSITIVE_INFINITY };
  const result = await runner.run(last, async (attempt) => {
    const error = errors.shift();
    if (error) throw error;
    return attempt;
  });
  assert.equal(result, 8);
  // Tries fail after 0, 1, 3, 7, 15, 20 and 25 s. The outage is over at 7 s, and the next one begins at 15 s.
  assert.deepEqual(told, ["x-1 after 25000"]);
});

test("an outage is told the later the more often the execution was handed back", async () => {
  let time = NOW;
  let handedBack: number | undefined;
  const { runner } = build({
    now: () => time,
    sleep: async (ms) => {
      time += ms;
    },
    handBacksOf: () => 3,
    handBack: () => {
      handedBack ??= time - NOW;
    },
  });
  const last = { ...call, deadline: Number.POSITIVE_INFINITY };
  await runner.run(last, async () => {
    if (handedBack === undefined) throw new OutageError("broker away");
  });
  // 80 s: the first try after that comes at 80 to 85 s.
  assert.ok(handedBack !== undefined && handedBack >= 80_000 && handedBack <= 85_000, `${handedBack}`);
});

test("a step whose lease has been given up or is another by now is not tried again, and ends in no way", async () => {
  for (const next of [undefined, 2]) {
    let lease: number | undefined = 1;
    const givenUp: string[] = [];
    const { runner } = build({ leaseOf: () => lease, onGivenUp: (key) => givenUp.push(key) });
    const attempts: number[] = [];
    let ended = false;
    const end = () => {
      ended = true;
    };
    void runner
      .run(call, async (attempt) => {
        attempts.push(attempt);
        if (attempt === 2) lease = next;
        throw new Error("refused");
      })
      .then(end, end);
    await settle();
    assert.deepEqual([attempts, ended, runner.running, givenUp], [[1, 2], false, 0, [call.key]]);
  }
});

test("a stop with many steps that wait hands each execution back, without asking for all of them again and again", async () => {
  const handedBack: string[] = [];
  const ends: PromiseWithResolvers<void>[] = [];
  const { runner } = build({ concurrency: 4, handBack: (executionId) => handedBack.push(executionId) });
  const ids = Array.from({ length: 1000 }, (_, i) => `x-${i}`);
  for (const executionId of ids) {
    void runner.run({ ...call, executionId }, async () => {
      ends.push(Promise.withResolvers());
      await ends.at(-1)?.promise;
    });
  }
  await settle();
  assert.deepEqual([runner.running, runner.waiting], [4, 996]);
  runner.drain();
  for (const { resolve } of ends) resolve();
  await settle();
  assert.deepEqual([runner.running, runner.waiting], [0, 0]);
  assert.deepEqual(new Set(handedBack), new Set(ids.slice(4)));
  assert.ok(handedBack.length <= 2 * 996, `${handedBack.length} times`);
});

test("at a stop the steps that run may end; what waits for room or its next try is handed back and tried no more", async () => {
  const handedBack: string[] = [];
  const pause = Promise.withResolvers<void>();
  const { runner, log } = build({
    concurrency: 2,
    sleep: () => pause.promise,
    handBack: (executionId) => handedBack.push(executionId),
  });
  const run = (executionId: string, work: () => Promise<unknown>) => {
    const outcome = { tries: 0, ended: false };
    const counted = () => {
      outcome.tries += 1;
      return work();
    };
    const end = () => {
      outcome.ended = true;
    };
    void runner.run({ ...call, executionId }, counted).then(end, end);
    return outcome;
  };
  const refuse = async () => assert.fail("refused");
  const [good, bad] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  const paused = [run("paused", refuse), run("both", refuse)];
  await settle();
  const ends = run("both", () => good.promise);
  const fails = run("fails", () => bad.promise);
  const waits = run("waits", refuse);
  await settle();
  assert.deepEqual([runner.running, runner.waiting], [2, 1]);

  runner.drain();
  assert.deepEqual(handedBack, ["paused", "waits"], "not the one of which a step runs");
  const late = run("late", refuse);
  good.resolve();
  bad.reject(new Error("refused"));
  pause.resolve();
  await settle();
  assert.deepEqual(
    [...paused, ends, fails, waits, late].map(({ tries, ended }) => [tries, ended]),
    [
      [1, false],
      [1, false],
      [1, true],
      [1, false],
      [0, false],
      [0, false],
    ],
  );
  assert.deepEqual(new Set(handedBack), new Set(["paused", "waits", "fails", "late", "both"]));
  assert.deepEqual([runner.running, runner.waiting], [0, 0]);
  assert.equal(
    log.lines.at(-1),
    "warn step charge of m-1 failed (attempt 1), another worker tries next: refused",
  );
});

test("what was thrown that is no error becomes one", async () => {
  const { runner } = build({ maxAttempts: 1 });
  for (const thrown of ["just text", 7, null, undefined, { code: 1 }]) {
    const failed = runner.run(call, async () => {
      throw thrown;
    });
    await assert.rejects(failed, (error) => {
      assert.ok(error instanceof Error);
      assert.equal(error.message, String(thrown));
      return true;
    });
  }
});

test("so many steps run at once and no more, and one that failed makes room, too", async () => {
  const { runner } = build({ concurrency: 2, maxAttempts: 1 });
  const ends: PromiseWithResolvers<string>[] = [];
  const runs = Promise.allSettled(
    Array.from({ length: 5 }, () =>
      runner.run(call, () => {
        const end = Promise.withResolvers<string>();
        ends.push(end);
        return end.promise;
      }),
    ),
  );
  await settle();
  assert.deepEqual([ends.length, runner.running], [2, 2]);
  ends[1]?.reject(new Error("locked"));
  await settle();
  assert.deepEqual([ends.length, runner.running], [3, 2]);
  ends[0]?.resolve("done");
  ends[2]?.resolve("done");
  await settle();
  assert.deepEqual([ends.length, runner.running], [5, 2]);
  ends[3]?.resolve("done");
  ends[4]?.resolve("done");
  assert.deepEqual(
    (await runs).map(({ status }) => status),
    ["fulfilled", "rejected", "fulfilled", "fulfilled", "fulfilled"],
  );
  assert.equal(runner.running, 0);
});

test("a step that waits for its next try makes room for others", async () => {
  const pause = Promise.withResolvers<void>();
  const { runner } = build({ concurrency: 1, sleep: () => pause.promise });
  const slow = runner.run(call, failing(1).work);
  await settle();
  assert.equal(runner.running, 0);
  assert.equal(await runner.run(call, async () => "other"), "other");
  pause.resolve();
  assert.equal(await slow, 2);
});

test("whatever fails, waits and comes, no room is lost and none is given twice", async () => {
  const random = createRandom(5);
  const { runner } = build({ concurrency: 3, maxAttempts: 4 });
  let [inside, most] = [0, 0];
  const visit = () =>
    runner.run(call, async () => {
      inside += 1;
      most = Math.max(most, inside);
      for (let turn = randomBelow(random, 4); turn > 0; turn--) await new Promise(setImmediate);
      inside -= 1;
      if (random() < 0.5) throw new Error("refused");
    });
  const results = await Promise.allSettled(Array.from({ length: 200 }, visit));
  assert.deepEqual([most, inside, runner.running], [3, 0, 0]);
  const failed = results.filter(({ status }) => status === "rejected").length;
  assert.ok(failed > 0 && failed < 50, `${failed} failed`);
});

test("past the deadline nothing is tried any more", async () => {
  const { runner, log } = build({ now: () => call.deadline + 1 });
  const { attempts, work } = failing(0);
  await assert.rejects(runner.run(call, work), (error) => {
    assert.ok(error instanceof ExecutionTimeoutError);
    assert.deepEqual(
      [error.name, error.code, error.canRetry],
      ["ExecutionTimeoutError", "EXECUTION_TIMEOUT", false],
    );
    assert.equal(error.message, "expected m-1 to be done by 2026-11-23T21:00:01.000Z, got to step charge");
    return true;
  });
  assert.deepEqual([attempts, log.lines], [[], []]);

  const inTime = build({ now: () => call.deadline });
  assert.equal(await inTime.runner.run(call, work), 1);
});

test("a step that waited for room until its deadline passed is not tried", async () => {
  let time = NOW;
  const { runner } = build({ concurrency: 1, now: () => time });
  const end = Promise.withResolvers<void>();
  const first = runner.run(call, () => end.promise);
  const { attempts, work } = failing(0);
  const late = assert.rejects(runner.run(call, work), ExecutionTimeoutError);
  await settle();
  time = call.deadline + 1;
  end.resolve();
  await Promise.all([first, late]);
  assert.deepEqual(attempts, []);
});

test("a deadline that passes between two tries ends the step, and an outage does not put it off", async () => {
  for (const error of [new Error("refused"), new OutageError("broker away")]) {
    let time = NOW;
    const sleep = async (ms: number) => {
      time += ms;
    };
    const { runner } = build({ now: () => time, sleep, retryDelayMs: 400 });
    const { attempts, work } = failing(100, error);
    await assert.rejects(runner.run(call, work), ExecutionTimeoutError);
    assert.deepEqual(attempts, [1, 2]);
  }
});

/** Values without a JSON form. */
const circle: Record<string, unknown> = {};
circle.self = circle;
const unkeepable = [1n, { deep: [1n] }, circle, { toJSON: () => assert.fail("no form") }];

test("a result without a JSON form fails the step for good: no retry gives it another", async () => {
  for (const result of unkeepable) {
    const { runner, delays } = build();
    let runs = 0;
    const failed = runner.run(call, async () => {
      runs += 1;
      return result;
    });
    await assert.rejects(failed, (error) => {
      assert.ok(error instanceof ResultError);
      assert.deepEqual([error.code, error.canRetry], ["RESULT_NOT_JSON", false]);
      assert.match(error.message, /^expected a result of step charge that JSON can hold, got ./);
      return true;
    });
    assert.deepEqual([runs, delays, runner.running], [1, [], 0]);
  }
});

test("a result that JSON can hold is handed on as it is", () => {
  for (const result of [undefined, null, 0, "", "text", [], { a: [1] }, new Date(0)]) {
    assert.equal(assertJson("it", result), result);
  }
});

test("without a sleep of its own it waits by the clock", async () => {
  const log = createMemoryLog();
  const own = createStepRunner({ concurrency: 1, maxAttempts: 9, retryDelayMs: 20, now: () => NOW, log });
  const before = performance.now();
  assert.equal(await own.run(call, failing(1).work), 2);
  assert.ok(performance.now() - before >= 19);
});
