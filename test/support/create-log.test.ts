import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { Writable } from "node:stream";
import { mock, test } from "node:test";
import { setImmediate } from "node:timers/promises";
import { createLog } from "../../src/support/create-log.ts";
import { withLogFields } from "../../src/support/log.ts";
import { readLogLine } from "../../src/support/log-line.ts";
import { Secret } from "../../src/support/secret.ts";

/** A stream that keeps what is written at once, each time as its lines; `isTTY` where it stands for a terminal. */
const createStream = (terminal: { isTTY?: boolean; hasColors?: () => boolean } = {}) => {
  const writes: string[][] = [];
  const stream = new Writable({
    decodeStrings: false,
    writev: (chunks, done) => {
      const text = chunks.map(({ chunk }) => String(chunk)).join("");
      assert.ok(text.endsWith("\n"), "whole lines");
      writes.push(text.slice(0, -1).split("\n"));
      done();
    },
  });
  return { stream: Object.assign(stream, terminal), writes };
};

mock.timers.enable({ apis: ["setTimeout"] });

/** Lets the time pass for which lines wait for others. */
const collected = async () => {
  mock.timers.tick(50);
  await setImmediate();
};

/** What is read of the lines that `say` logs. */
const logged = async (say: (log: Awaited<ReturnType<typeof createLog>>) => void, env = {}) => {
  const { stream, writes } = createStream();
  say(await createLog("worker", { env, stream }));
  await collected();
  return writes.flat().map(readLogLine);
};

test("anywhere but on a terminal a line is an object: level, time, program, fields and message", async () => {
  const [first, second] = await logged((log) => {
    log
      .child({ worker: "1-ab" })
      .info({ recordId: "r-1", partition: 3, offset: "41", partitions: [1, 2] }, "began");
    log.error("failed");
  });
  assert.ok(Math.abs(Date.parse(String(first?.time)) - Date.now()) < 10_000);
  const { time: _, ...fields } = first ?? { msg: "" };
  assert.deepEqual(fields, {
    level: "info",
    name: "worker",
    pid: process.pid,
    worker: "1-ab",
    recordId: "r-1",
    partition: 3,
    offset: "41",
    partitions: [1, 2],
    msg: "began",
  });
  assert.deepEqual([second?.level, second?.msg, second?.worker], ["error", "failed", undefined]);
});

test("lines below LOG_LEVEL are not written", async () => {
  const say = (log: Awaited<ReturnType<typeof createLog>>) => {
    for (const level of ["debug", "info", "warn", "error"] as const) log[level](level);
  };
  const messages = async (level?: string) =>
    (await logged(say, level === undefined ? {} : { LOG_LEVEL: level })).map(({ msg }) => msg);
  assert.deepEqual(await messages(), ["info", "warn", "error"]);
  assert.deepEqual(await messages("debug"), ["debug", "info", "warn", "error"]);
  assert.deepEqual(await messages("error"), ["error"]);
  assert.deepEqual(await messages("silent"), []);
  await assert.rejects(createLog("x", { env: { LOG_LEVEL: "loud" } }), /LOG_LEVEL: expected debug, info/);
});

test("a terminal gets text, in colours where it has them; so does any reader with LOG_FORMAT=pretty", async () => {
  for (const [env, terminal, expected] of [
    [{}, { isTTY: true, hasColors: () => true }, /^\[\d\d:\d\d:\d\d\.\d{3}\] .*\[3\dm.*slow/],
    [{}, { isTTY: true, hasColors: () => false }, /^\[\d\d:\d\d:\d\d\.\d{3}\] WARN \(worker\/\d+\): slow$/],
    [{ LOG_FORMAT: "pretty" }, {}, /^\[\d\d:\d\d:\d\d\.\d{3}\] WARN \(worker\/\d+\): slow$/],
    [{ LOG_FORMAT: "json" }, { isTTY: true, hasColors: () => true }, /^\{"level":"warn",.*"msg":"slow"\}$/],
  ] as const) {
    const { stream, writes } = createStream(terminal);
    (await createLog("worker", { env, stream })).warn({ recordId: "r-1" }, "slow");
    await collected();
    assert.equal(writes.flat().length, 1);
    assert.match(writes[0]?.[0] ?? "", expected);
  }
});

test("without pino-pretty a terminal gets JSON, and one line that says so", () => {
  const module = JSON.stringify(import.meta.resolve("../../src/support/create-log.ts"));
  const { stdout, stderr } = spawnSync(
    process.execPath,
    [
      "--input-type=module",
      "--eval",
      `import { registerHooks } from "node:module";
      registerHooks({ resolve: (name, context, next) => {
        if (name !== "pino-pretty") return next(name, context);
        throw Object.assign(new Error("not there"), { code: "ERR_MODULE_NOT_FOUND" });
      } });
      const { createLog } = await import(${module});
      const log = await createLog("x", { env: { LOG_FORMAT: "pretty" } });
      log.info("one");
      log.info("two");`,
    ],
    { encoding: "utf8" },
  );
  const messages = stdout
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line).msg);
  assert.deepEqual(messages.slice(1), ["one", "two"], stderr);
  assert.match(messages[0], /npm install pino-pretty/);
});

test("text from outside is visible and cut, in the message and in every field", async () => {
  const hidden = "a\u001b[31m\u202e\u2028\r\nb";
  const shown = "a\\u001b[31m\\u202e\\u2028\\u000d\\u000ab";
  const [line] = await logged((log) =>
    log.child({ bound: hidden }).info(
      {
        recordId: hidden,
        long: "x".repeat(5000),
        nested: { list: [hidden] },
        failure: new Error(hidden, { cause: new Error("why") }),
        circle: (() => {
          const own: { self?: object } = {};
          own.self = own;
          return own;
        })(),
        huge: 10n,
      },
      hidden,
    ),
  );
  assert.ok(line);
  assert.deepEqual(
    [line.msg, line.bound, line.recordId, line.nested],
    [shown, shown, shown, { list: [shown] }],
  );
  assert.match(String(line.long), /^x{1000}… \(5000 characters\)$/);
  assert.equal(line.failure, "a\\u001b[31m\\u202e b: why");
  assert.match(String(line.circle), /^\[Converting circular structure/);
});

test("a secret is not shown, whatever holds it", async () => {
  const [line] = await logged((log) =>
    log.child({ token: "hidden-1" }).info(
      {
        password: "hidden-2",
        held: new Secret(() => "hidden-3"),
        sasl: { username: "me", password: "hidden-4" },
        headers: { Authorization: "Bearer hidden-5" },
      },
      "connects",
    ),
  );
  assert.doesNotMatch(JSON.stringify(line), /hidden/);
  assert.deepEqual(
    [line?.token, line?.held, line?.sasl],
    ["[secret]", "[secret]", { username: "me", password: "[secret]" }],
  );
});

test("lines of a work have its fields, after a wait too, and those of another have not", async () => {
  const { stream, writes } = createStream();
  const log = await createLog("worker", { env: {}, stream });
  await Promise.all(
    ["r-1", "r-2"].map((recordId) =>
      withLogFields({ recordId, step: "charge" }, async () => {
        await setImmediate();
        log.info({ batch: 2 }, recordId);
      }),
    ),
  );
  log.info("outside");
  await collected();
  const seen = writes.flat().map(readLogLine);
  assert.deepEqual(
    seen.map(({ msg, recordId, step, batch }) => [msg, recordId, step, batch]),
    [
      ["r-1", "r-1", "charge", 2],
      ["r-2", "r-2", "charge", 2],
      ["outside", undefined, undefined, undefined],
    ],
  );
});

test("a line that comes alone is written at once, those of the next milliseconds together", async () => {
  const { stream, writes } = createStream();
  const log = await createLog("worker", { env: {}, stream });
  const sizes = () => writes.map((lines) => lines.length);
  for (let i = 0; i < 4; i++) {
    await setImmediate();
    log.info("together");
  }
  assert.deepEqual(sizes(), [1]);
  await collected();
  assert.deepEqual(sizes(), [1, 3]);
  await collected();
  log.info("later");
  assert.deepEqual(sizes(), [1, 3, 1]);
  await collected();
});

test("lines of several processes that share a pipe are not mixed", () => {
  const module = JSON.stringify(import.meta.resolve("../../src/support/create-log.ts"));
  const program = `import { createLog } from ${module}; const log = await createLog("x", { env: {} });
    for (let turn = 0; turn < 20; turn++) {
      for (let i = 0; i < 50; i++) log.info({ mark: "\u00e9".repeat(100) }, "m".repeat(100));
      await new Promise(setImmediate);
    }`;
  const { stdout } = spawnSync(
    "/bin/sh",
    [
      "-c",
      '("$0" "$@" & "$0" "$@" & "$0" "$@" & wait) | cat',
      process.execPath,
      "--input-type=module",
      "--eval",
      program,
    ],
    { encoding: "utf8", maxBuffer: 2 ** 26 },
  );
  const lines = stdout.trimEnd().split("\n").map(readLogLine);
  assert.equal(lines.length, 3000);
  assert.equal(new Set(lines.map(({ pid }) => pid)).size, 3);
  for (const { msg, mark } of lines) assert.deepEqual([msg, mark], ["m".repeat(100), "\u00e9".repeat(100)]);
});

test("no line is lost when the process ends in the turn that wrote it", () => {
  const module = JSON.stringify(import.meta.resolve("../../src/support/create-log.ts"));
  for (const format of ["json", "pretty"]) {
    const begin = `import { createLog } from ${module};
      const log = await createLog("x", { env: { LOG_FORMAT: "${format}" } }); log.error("the last words");`;
    for (const end of ["process.exit(3)", "throw new Error('broken')"]) {
      const { stdout, status } = spawnSync(process.execPath, [
        "--input-type=module",
        "--eval",
        `${begin} ${end}`,
      ]);
      assert.match(String(stdout), /the last words("\})?\n$/);
      assert.notEqual(status, 0);
    }
  }
});

test("a printed line that is not of a log is read as a message", () => {
  for (const line of ["", "expected a port", "{", "17", "null", '{"a":1}', "[1]"])
    assert.deepEqual(readLogLine(line), { msg: line });
  assert.deepEqual(readLogLine('{"msg":7,"level":"info"}'), { msg: "7", level: "info" });
});
