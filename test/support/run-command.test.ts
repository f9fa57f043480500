import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { suite, type TestContext, test } from "node:test";
import { until } from "../helpers/unit-time.ts";

const modules = ["run-command", "settings", "signals"].map(
  (name) => new URL(`../../src/support/${name}.ts`, import.meta.url).href,
);

/** Runs `body` as the main function of a process of its own. */
const run = (t: TestContext, body: string, { words = [] as string[], needsReader = true } = {}) => {
  const [main, settings, signals] = modules;
  const code = `
    import { runCommand } from "${main}";
    import { SettingsError } from "${settings}";
    import { aborted } from "${signals}";
    await runCommand(async (signal) => { ${body} }, { help: "what it does", needsReader: ${needsReader} });`;
  const child = spawn(process.execPath, ["--input-type=module", "--eval", code, "--", ...words], {
    stdio: ["ignore", "pipe", "pipe"],
  });
  t.after(() => child.kill("SIGKILL"));
  const output = { stdout: "", stderr: "" };
  child.stdout.on("data", (chunk) => {
    output.stdout += chunk;
  });
  child.stderr.on("data", (chunk) => {
    output.stderr += chunk;
  });
  const printed = (line: string) =>
    until(`${line} is printed`, () => output.stdout.includes(`${line}\n`), 30_000);
  const ended = once(child, "close").then(([code]) => ({ code, ...output }));
  return { child, printed, ended, output };
};

const forever = "setInterval(() => {}, 1000);";

suite("runCommand", { concurrency: 3 }, () => {
  test("a main that returns ends the process with 0, whatever is still open", async (t) => {
    assert.deepEqual(await run(t, forever).ended, { code: 0, stdout: "", stderr: "" });
  });

  test("a main that fails ends it with 1 and says why, with all causes, on one line", async (t) => {
    const { ended } = run(t, `throw new Error("no answer", { cause: new Error("refused") });`);
    assert.deepEqual(await ended, { code: 1, stdout: "", stderr: "no answer: refused\n" });
  });

  test("faults of the settings are told one a line, without a stack", async (t) => {
    const { ended } = run(t, `throw new SettingsError(["A: expected a", "B: expected b"]);`);
    assert.deepEqual(await ended, { code: 1, stdout: "", stderr: "A: expected a\nB: expected b\n" });
  });

  for (const signal of ["SIGINT", "SIGTERM"] as const) {
    test(`${signal} lets main come to its end, which is then no failure`, async (t) => {
      const body = `console.log("ready"); ${forever} await aborted(signal); console.log("stopped"); signal.throwIfAborted();`;
      const { child, printed, ended } = run(t, body);
      await printed("ready");
      child.kill(signal);
      assert.deepEqual(await ended, { code: 0, stdout: "ready\nstopped\n", stderr: "" });
    });
  }

  test("a second signal ends a main that does not come to its end", async (t) => {
    const body = `${forever} console.log("ready"); await aborted(signal); console.log("stopping"); await new Promise(() => {});`;
    const { child, printed, ended } = run(t, body);
    await printed("ready");
    child.kill("SIGTERM");
    await printed("stopping");
    // A second one within half a second is taken for the first.
    const repeat = setInterval(() => child.kill("SIGTERM"), 100);
    t.after(() => clearInterval(repeat));
    const { code, stderr } = await ended;
    assert.deepEqual([code, stderr], [143, ""]);
  });

  for (const word of ["--help", "-h"]) {
    test(`${word} prints what the command does, and does nothing else`, async (t) => {
      const { ended } = run(t, `console.log("ran");`, { words: ["job", word] });
      assert.deepEqual(await ended, { code: 0, stdout: "what it does\n", stderr: "" });
    });
  }

  test("words that parseArgs does not know are told without a stack", async (t) => {
    const body = `const { parseArgs } = await import("node:util"); parseArgs({ args: ["--odd"], options: {} });`;
    const { code, stdout, stderr } = await run(t, body).ended;
    assert.deepEqual([code, stdout, stderr.trim().split("\n").length], [1, "", 1]);
    assert.match(stderr, /--odd/);
  });

  const printing = `console.log("ready"); setInterval(() => console.log("line"), 5); await aborted(signal);`;

  test("a command stops when nobody reads what it prints", async (t) => {
    const { child, printed, ended } = run(t, printing);
    await printed("ready");
    child.stdout.destroy();
    const { code, stderr } = await ended;
    assert.deepEqual([code, stderr], [0, ""]);
  });

  test("a worker works on when nobody reads what it prints", async (t) => {
    const body = `${printing.replace("await aborted(signal);", "")} process.stdout.on("error", () => console.error("unread")); await aborted(signal);`;
    const { child, printed, ended, output } = run(t, body, { needsReader: false });
    await printed("ready");
    child.stdout.destroy();
    await until("its lines go nowhere", () => output.stderr.includes("unread"), 30_000);
    child.kill("SIGTERM");
    assert.equal((await ended).code, 0);
  });
});
