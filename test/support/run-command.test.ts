import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { suite, type TestContext, test } from "node:test";
import { until } from "../helpers/unit-time.ts";

const modules = ["run-command", "settings", "signals"].map(
  (name) => new URL(`../../src/support/${name}.ts`, import.meta.url).href,
);

/** Runs `body` as the main function of a process of its own. */
const run = (t: TestContext, body: string) => {
  const [main, settings, signals] = modules;
  const code = `
    import { runCommand } from "${main}";
    import { SettingsError } from "${settings}";
    import { aborted } from "${signals}";
    await runCommand(async (signal) => { ${body} });`;
  const child = spawn(process.execPath, ["--input-type=module", "--eval", code], {
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
  const printed = (line: string) => until(`${line} is printed`, () => output.stdout.includes(`${line}\n`));
  const ended = once(child, "close").then(([code]) => ({ code, ...output }));
  return { child, printed, ended };
};

const forever = "setInterval(() => {}, 1000);";

suite("runCommand", { concurrency: true }, () => {
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
    child.kill("SIGTERM");
    const { code, stderr } = await ended;
    assert.deepEqual([code, stderr], [143, ""]);
  });
});
