import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { createInterface } from "node:readline";
import { suite, type TestContext, test } from "node:test";
import { fileURLToPath } from "node:url";
import manifest from "../../package.json" with { type: "json" };
import { spawnWorker } from "../../src/demo/worker-process.ts";
import { createBroker } from "../../src/stack/broker/broker.ts";
import { readLogLine } from "../../src/support/log-line.ts";
import { placeOf } from "../../src/support/postgres.ts";
import { setScene } from "../helpers/deletion-scene.ts";
import { findFreePort } from "../helpers/free-port.ts";
import { isAlive, isGroupAlive, pidsIn, spawnNpm } from "../helpers/npm.ts";
import {
  beginBrokerOutage,
  beginServerOutage,
  skipBrokerOutage,
  skipServerOutage,
} from "../helpers/outage.ts";
import { type Env, linesWith, until, within } from "../helpers/scene.ts";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));
const SCRIPTS: Readonly<Record<string, string>> = manifest.scripts;
const COMMANDS = Object.keys(SCRIPTS).filter((name) => name !== "test" && name !== "check");

const makeFolder = async (t: TestContext) => {
  const folder = await mkdtemp(join(tmpdir(), "commands-"));
  t.after(() => rm(folder, { recursive: true, force: true }));
  return folder;
};

/** A command of package.json at work. */
const spawnCommand = (
  t: TestContext,
  name: string,
  { args = [], env = {}, cwd = ROOT }: { args?: readonly string[]; env?: Env; cwd?: string } = {},
) => {
  const entry = SCRIPTS[name]?.split(" ").at(-1) ?? "";
  const child = spawn(process.execPath, [join(ROOT, entry), ...args], {
    cwd,
    env: { ...process.env, ...env },
    stdio: ["ignore", "pipe", "pipe"],
  });
  t.after(() => child.kill("SIGKILL"));
  const [output, errors]: [string[], string[]] = [[], []];
  createInterface({ input: child.stdout }).on("line", (line) => output.push(line));
  createInterface({ input: child.stderr }).on("line", (line) => errors.push(readLogLine(line).msg));
  const exited = once(child, "close").then(([code, signal]) => signal ?? code);
  return { child, output, errors, exited };
};

/** A Node on the PATH that is older than this application needs, if there is one. */
const findOlderNode = (): string | undefined => {
  const places = (process.env.PATH ?? "").split(delimiter).map((folder) => join(folder, "node"));
  return places.find((path) => {
    if (!existsSync(path)) return false;
    const [major] = execFileSync(path, ["-p", "process.versions.node"], { encoding: "utf8" }).split(".");
    return Number(major) < 26;
  });
};

const hasStack = (lines: readonly string[]) => lines.some((line) => /^\s+at |Error:.*\{$/.test(line));

suite("commands", { concurrency: 3, timeout: 240_000 }, () => {
  test("mode 47: a worker works on when nobody reads its log any more", async (t) => {
    const scene = await setScene(t);
    const npm = spawnNpm(t, ["start"], scene.env);
    const [worker = 0] = await until("the worker", () => pidsIn(npm.lines).length > 0 && pidsIn(npm.lines));
    npm.stopReading();
    // Each is told in lines that go nowhere.
    for (let i = 0; i < 3; i++) {
      const id = await scene.seed({ batches: 2 });
      await until("a completion", () => scene.completionsOf(id).length > 0);
    }
    assert.ok(isAlive(worker), "it lives");
    npm.kill("SIGTERM");
    assert.equal(await within("its end", npm.exited), 0);
    assert.ok(!isAlive(worker) && !isGroupAlive(npm.pid), "nothing is left");
  });

  for (const [command, args, ready, prefix] of [
    ["demo", ["-n", "200"], /^Seeded /, "recovery-demo-"],
    ["soak", ["--records", "2000", "--kills", "5", "--workers", "2"], /^Soak of /, "soak-"],
  ] as const) {
    test(`mode 47: 'npm run ${command} | head' ends quietly and leaves nothing`, async (t) => {
      const folder = await makeFolder(t);
      const npm = spawnNpm(t, [command, "--", ...args], {
        TMPDIR: folder,
        KAFKA_BROKERS: "",
        RESONATE_URL: "",
      });
      const printed = () => npm.lines.some((line) => ready.test(line));
      await until("its first lines", printed);
      // npm keeps things of its own there.
      const findOwn = async () => (await readdir(folder)).filter((name) => name.startsWith(prefix));
      assert.equal((await findOwn()).length, 1, "it has a folder of its own");
      npm.stopReading();
      const before = npm.lines.length;
      assert.equal(await within("its end", npm.exited, 60_000), 0);
      assert.deepEqual(npm.lines.slice(before), [], "it says nothing more");
      assert.deepEqual(await findOwn(), []);
      await until("the end of its workers", () => !isGroupAlive(npm.pid));
    });
  }

  test("mode 48: an older Node says in one line which one is needed, and how to get it", async (t) => {
    const older = findOlderNode();
    if (older === undefined) return t.skip("needs an older Node on the PATH");
    assert.equal(manifest.engines.node, ">=26");
    for (const [name, script] of Object.entries(manifest.scripts)) {
      if (name === "check") continue;
      // As it stands in package.json, without the Node in node_modules.
      const line: string = script.replace(/^(exec )?node /, `exec ${older} `);
      const child = spawn("/bin/sh", ["-c", line], { cwd: ROOT, stdio: ["ignore", "pipe", "pipe"] });
      t.after(() => child.kill("SIGKILL"));
      const lines: string[] = [];
      for (const input of [child.stdout, child.stderr])
        createInterface({ input }).on("line", (text) => lines.push(text));
      const [code] = await within(`the end of ${name}`, once(child, "close"));
      assert.deepEqual([code, lines.length], [1, 1], `${name}: ${lines.join("\n")}`);
      assert.match(lines[0] ?? "", /^expected Node 26 or newer, got \d+\.\S+: 'npm ci' .* nodejs\.org$/);
    }
  });

  for (const command of COMMANDS) {
    test(`mode 49: --help of '${command}' says what it does and does nothing; an unknown option is one line`, async (t) => {
      const cwd = await makeFolder(t);
      const env = { KAFKA_BROKERS: `127.0.0.1:${await findFreePort()}`, RECORDS_DB: join(cwd, "records.db") };
      const help = spawnCommand(t, command, { args: ["--help"], cwd, env });
      assert.equal(await within("the help", help.exited), 0);
      assert.match(
        help.output[0] ?? "",
        new RegExp(command === "start" ? "^npm start" : `^npm run ${command}`),
      );
      assert.ok(help.output.length >= 3 && help.errors.length === 0, help.errors.join("\n"));

      const odd = spawnCommand(t, command, { args: ["--odd"], cwd, env });
      assert.equal(await within("the refusal", odd.exited), 1);
      assert.deepEqual(
        [odd.output.length, odd.errors.length],
        [0, 1],
        [...odd.output, ...odd.errors].join("\n"),
      );
      assert.match(odd.errors[0] ?? "", /--odd/);
      assert.deepEqual(await readdir(cwd), []);
    });
  }

  for (const command of ["redrive", "purge"]) {
    test(`mode 49: '${command}' refuses a --dry-run that npm took for its own`, async (t) => {
      const npm = spawnNpm(t, [command, "--dry-run"], { KAFKA_BROKERS: `127.0.0.1:${await findFreePort()}` });
      assert.equal(await within("the refusal", npm.exited), 1);
      assert.deepEqual(npm.lines, [
        `npm took --dry-run for its own: expected 'npm run ${command} -- --dry-run', with '--' before the options`,
      ]);
    });
  }

  test("mode 49: 'crash-test' refuses a name that is no job's before it runs another", async (t) => {
    const { output, errors, exited } = spawnCommand(t, "crash-test", { args: ["orders", "order"] });
    assert.equal(await within("the refusal", exited), 1);
    assert.deepEqual([output.length, errors.length], [0, 1], [...output, ...errors].join("\n"));
    assert.match(errors[0] ?? "", /^expected the name of a job \(.*\), got "order"$/);
  });

  test("mode 49: a worker says first what it works on, and which names were most likely meant", async (t) => {
    const scene = await setScene(t);
    await writeFile(join(scene.folder, ".env"), "BATCH_SZE=3\nRESONATE_GRUOP=x\nUNRELATED_NAME=1\n");
    await using worker = spawnWorker(
      { ...scene.env, KAFKA_BROKER: "elsewhere:9092", kafka_group_id: "y" },
      { cwd: scene.folder },
    );
    await within("the worker", worker.ready);
    for (const [name, meant] of [
      ["KAFKA_BROKER", "KAFKA_BROKERS"],
      ["kafka_group_id", "KAFKA_GROUP_ID"],
      ["BATCH_SZE", "BATCH_SIZE"],
      ["RESONATE_GRUOP", "RESONATE_GROUP"],
    ] as const)
      assert.equal(
        linesWith(worker, `${name} is not a setting: ${meant} was most likely meant`).length,
        1,
        name,
      );
    assert.equal(linesWith(worker, "is not a setting").length, 4);
    const first = worker.lines.slice(0, 5).join("\n");
    const {
      KAFKA_BROKERS = "",
      RESONATE_URL = "",
      TOPIC_SOURCE = "",
      KAFKA_GROUP_ID = "",
      RESONATE_GROUP = "",
    } = scene.env;
    for (const part of [
      "job deletion",
      KAFKA_BROKERS,
      placeOf(RESONATE_URL),
      TOPIC_SOURCE,
      KAFKA_GROUP_ID,
      RESONATE_GROUP,
    ])
      assert.ok(first.includes(part), `expected ${part} in ${first}`);
  });

  for (const command of ["seed", "redrive"]) {
    test(`modes 49, 50: '${command}' warns of a misspelt name, waits for a broker in the worker's words, and goes on`, async (t) => {
      const cwd = await makeFolder(t);
      const port = await findFreePort();
      const address = `127.0.0.1:${port}`;
      const env = { KAFKA_BROKERS: address, BATCH_SZE: "3", RECORDS_DB: join(cwd, "records.db") };
      const { output, errors, exited } = spawnCommand(t, command, { cwd, env });
      await until(
        "two tries",
        () => errors.filter((line) => line.includes("cannot be reached")).length === 2,
      );
      const [misspelt = "", first = "", second = ""] = errors;
      assert.match(misspelt, /BATCH_SZE is not a setting: BATCH_SIZE was most likely meant/);
      for (const line of [first, second]) {
        assert.match(line, new RegExp(`Kafka broker at ${address} cannot be reached: .*ECONNREFUSED.*`));
        assert.match(
          line,
          /Start one with 'npm run stack' or 'docker compose up -d'\. Next try in [12] s\.$/,
        );
      }
      assert.equal(errors.length, 3, errors.join("\n"));

      const broker = createBroker();
      t.after(() => broker.stop());
      await broker.listen({ port });
      assert.equal(await within("the end", exited), 0);
      assert.ok(errors.some((line) => line.includes(`Kafka broker at ${address} is back again, after `)));
      assert.ok(!hasStack(errors) && !errors.some((line) => line.includes("kafka: ")), errors.join("\n"));
      assert.match(
        output.at(-1) ?? "",
        command === "seed" ? /^25 messages are in / : /^0 messages went from /,
      );
    });

    test(`mode 50: Ctrl-C ends a '${command}' that waits for a broker`, async (t) => {
      const cwd = await makeFolder(t);
      const env = { KAFKA_BROKERS: `127.0.0.1:${await findFreePort()}`, RECORDS_DB: join(cwd, "records.db") };
      const { child, errors, exited } = spawnCommand(t, command, { cwd, env });
      await until("it to wait", () => errors.some((line) => line.includes("cannot be reached")));
      child.kill("SIGINT");
      assert.equal(await within("its end", exited, 5000), 0);
      assert.ok(!hasStack(errors), errors.join("\n"));
    });
  }

  test("mode 50: a worker says once that the broker is away, and once that it is back", {
    skip: skipBrokerOutage,
  }, async (t) => {
    const scene = await setScene(t);
    const worker = await scene.startWorker();
    const address = scene.env.KAFKA_BROKERS ?? "";
    const outage = await beginBrokerOutage(scene, 8000);
    await until(
      "the line",
      () => linesWith(worker, `Kafka broker at ${address} cannot be reached`).length > 0,
    );
    await outage.end();
    const id = await until("a record to be taken", async () =>
      scene.seed({ batches: 1 }).catch(() => undefined),
    );
    await until("the completion", () => scene.completionsOf(id).length > 0);
    await until(
      "the line",
      () => linesWith(worker, `Kafka broker at ${address} is back again, after `).length > 0,
    );
    assert.equal(linesWith(worker, "cannot be reached").length, 1);
    assert.equal(linesWith(worker, "is back again").length, 1);
    assert.deepEqual(linesWith(worker, "kafka: "), [], "and no noise of the client");
  });

  test("mode 50: a worker says once that the server is back", { skip: skipServerOutage }, async (t) => {
    const scene = await setScene(t);
    const env = scene.embedded ? { RESONATE_URL: scene.embedded.url } : {};
    const worker = await scene.startWorker(env);
    const outage = await beginServerOutage(scene, 5000);
    await until("the worker to notice", () => linesWith(worker, "a request to the server failed").length > 0);
    await outage.end();
    await until("the line", () => linesWith(worker, "is back again, after ").length > 0);
    assert.match(
      linesWith(worker, "is back again")[0] ?? "",
      /Resonate server at \S+ is back again, after \d+ s$/,
    );
    const id = await scene.seed({ batches: 1 });
    await until("the completion", () => scene.completionsOf(id).length > 0);
    assert.equal(linesWith(worker, "is back again").length, 1);
  });

  for (const [part, begin] of [
    ["server", beginServerOutage],
    ["broker", beginBrokerOutage],
  ] as const) {
    test(`mode 50: 'status --watch' looks on when the ${part} was away, and says so once`, async (t) => {
      if (process.env.KAFKA_BROKERS) return t.skip("needs an embedded stack");
      const scene = await setScene(t);
      // The way through the proxy would stay open.
      const env = { ...scene.env, ...(scene.embedded && { RESONATE_URL: scene.embedded.url }) };
      const args = ["--watch", "--json"];
      const { child, output, errors, exited } = spawnCommand(t, "status", { args, env, cwd: scene.folder });
      const told = (text: string) => errors.filter((line) => line.startsWith(text)).length;
      await until("a look", () => output.length > 0);
      const outage = await begin(scene, 6000);
      await until("the line", () => told("cannot look, trying on: ") > 0);
      await outage.end();
      await until("the line", () => told("can look again, after ") > 0);
      const before = output.length;
      await until("another look", () => output.length > before);
      assert.deepEqual([told("cannot look"), told("can look again")], [1, 1], errors.join("\n"));
      if (part === "server") assert.equal(errors.length, 2, errors.join("\n"));
      child.kill("SIGINT");
      assert.equal(await within("its end", exited, 5000), 0);
      assert.ok(!hasStack(errors), errors.join("\n"));
    });
  }

  test("mode 50: a seed that loses the broker half-way waits, and goes on", async (t) => {
    if (process.env.KAFKA_BROKERS) return t.skip("needs an embedded broker");
    const scene = await setScene(t);
    const { output, errors, exited } = spawnCommand(t, "seed", {
      args: ["-n", "4000"],
      env: scene.env,
      cwd: scene.folder,
    });
    await until("the first messages", () => output.length > 50);
    const outage = await beginBrokerOutage(scene, 4000);
    const before = output.length;
    await outage.end();
    assert.ok(before < 4000, "it had not come to its end");
    assert.equal(await within("the end", exited, 90_000), 0);
    assert.equal(output.at(-1), `4000 messages are in ${scene.settings.TOPIC_SOURCE}`);
    assert.equal(errors.filter((line) => line.includes("cannot be reached")).length, 1, errors.join("\n"));
    assert.equal(errors.filter((line) => line.includes("is back again")).length, 1, errors.join("\n"));
    assert.equal(errors.length, 2, errors.join("\n"));
  });

  test("mode 50: rebalances are not shown as trouble", async (t) => {
    const scene = await setScene(t);
    const first = await scene.startWorker();
    const second = await scene.startWorker();
    await until("a rebalance", () => linesWith(first, "joined consumer group").length > 1);
    second.kill("SIGTERM");
    await within("the end", second.exited);
    await until("another one", () => linesWith(first, "joined consumer group").length > 2);
    assert.deepEqual([...linesWith(first, "kafka: "), ...linesWith(second, "kafka: ")], []);
  });
});
