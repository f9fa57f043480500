import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { createServer, type Server } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { suite, type TestContext, test } from "node:test";
import { setTimeout } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { spawnWorker } from "../../src/demo/worker-process.ts";
import { createBroker } from "../../src/stack/broker/broker.ts";
import { createResonateServer } from "../../src/stack/resonate-server.ts";
import { setScene } from "../helpers/deletion-scene.ts";
import { findFreePorts } from "../helpers/free-port.ts";
import { linesWith, until, within } from "../helpers/scene.ts";

type Settings = Readonly<Record<string, string>>;

const makeFolder = async (t: TestContext) => {
  const folder = await mkdtemp(join(tmpdir(), "start-"));
  t.after(() => rm(folder, { recursive: true, force: true }));
  return folder;
};

/** Runs a command of `src/bin` to its end. */
const run = async (
  t: TestContext,
  command: string,
  { args = [], settings = {}, cwd }: { args?: readonly string[]; settings?: Settings; cwd: string },
) => {
  const path = fileURLToPath(new URL(`../../src/bin/${command}.ts`, import.meta.url));
  const child = spawn(process.execPath, [path, ...args], {
    cwd,
    env: { ...process.env, ...settings },
    stdio: ["ignore", "pipe", "pipe"],
  });
  t.after(() => child.kill("SIGKILL"));
  const [output, errors, [code]] = await within(
    `the end of ${command}`,
    Promise.all([text(child.stdout), text(child.stderr), once(child, "exit")]),
    20_000,
  );
  const toLines = (all: string) => all.split("\n").filter((line) => line !== "");
  return { code, output: toLines(output), errors: toLines(errors) };
};

/** Listens on `port` of the loopback, so that no one else can; 0 is a free one. */
const occupy = async (t: TestContext, port: number) => {
  const server = createServer();
  server.listen(port, "127.0.0.1");
  await once(server, "listening");
  t.after(() => void server.close());
  return server;
};

const portOf = (server: Server): number => {
  const address = server.address();
  assert.ok(address !== null && typeof address === "object");
  return address.port;
};

suite("start", { concurrency: 3, timeout: 180_000 }, () => {
  test("settings that are not valid: one line for each, exit code 1", async (t) => {
    const cwd = await makeFolder(t);
    const settings = {
      KAFKA_BROKERS: "localhost",
      TOPIC_PARTITIONS: "0",
      RESONATE_URL: "ftp://user:hunter2@localhost",
      RESONATE_TOKEN: "hunter2 hunter3",
      LEASE_TTL_MS: "10s",
      SIMULATED_FAILURE_RATE: "1",
    };
    const { code, output, errors } = await run(t, "start", { settings, cwd });
    assert.equal(code, 1);
    assert.deepEqual(output, []);
    assert.deepEqual(
      errors.map((line) => line.split(":")[0]),
      Object.keys(settings),
    );
    for (const line of errors) assert.match(line, /^[A-Z_]+: expected .+, got .+$/);
    assert.ok(!errors.join().includes("hunter"), "secrets are not shown");
  });

  test("a worker that cannot open its row store says so in one line, exit code 1", async (t) => {
    const cwd = await makeFolder(t);
    const { code, errors } = await run(t, "start", { settings: { RECORDS_DB: cwd }, cwd });
    assert.equal(code, 1);
    assert.equal(errors.length, 1);
    assert.match(errors[0] ?? "", new RegExp(`^row store ${cwd}: `));
  });

  test("a worker started before broker and server says what it waits for, and works once they are there", async (t) => {
    if (process.env.KAFKA_BROKERS) return t.skip("needs a broker that is not there yet, so an embedded one");
    const cwd = await makeFolder(t);
    const [kafkaPort = 0, resonatePort = 0] = await findFreePorts(2);
    const settings = {
      KAFKA_BROKERS: `127.0.0.1:${kafkaPort}`,
      RESONATE_URL: `http://127.0.0.1:${resonatePort}`,
      RECORDS_DB: join(cwd, "records.db"),
      SIMULATED_FAILURE_RATE: "0",
      BATCH_PAUSE_MS: "10",
    };
    await using worker = spawnWorker(settings, { cwd });
    const waits = (system: string) =>
      linesWith(worker, "cannot be reached").filter((line) => line.includes(system));
    for (const [system, address] of [
      ["Kafka broker", settings.KAFKA_BROKERS],
      ["Resonate server", settings.RESONATE_URL],
    ] as const) {
      const [first] = await until(
        `a line about the ${system}`,
        () => waits(system).length > 1 && waits(system),
        20_000,
      );
      for (const part of [
        `${system} at ${address} cannot be reached`,
        "npm run stack",
        "docker compose up -d",
      ])
        assert.ok(first?.includes(part), `expected ${part} in ${first}`);
    }
    assert.ok(worker.kill("SIGCONT"), "it is alive");
    assert.ok(!worker.lines.some((line) => /is ready|^\s+at /.test(line)));

    const broker = createBroker();
    t.after(() => broker.stop());
    await broker.listen({ port: kafkaPort });
    await using server = createResonateServer();
    await server.listen({ port: resonatePort });
    await within("the worker", worker.ready);
    const { code } = await run(t, "seed", { args: ["-n", "1"], settings, cwd });
    assert.equal(code, 0);
    await until("the record's rows to be deleted", () => linesWith(worker, "all rows deleted").length === 1);
    worker.kill("SIGTERM");
    assert.equal(await within("the worker's end", worker.exited), 0);
  });

  for (const there of ["neither", "server", "broker"] as const) {
    const waitsFor = { neither: "broker and server", server: "the broker", broker: "the server" }[there];
    test(`SIGINT ends a worker that waits for ${waitsFor}, with exit code 0`, async (t) => {
      const cwd = await makeFolder(t);
      await using server = createResonateServer();
      const broker = createBroker();
      t.after(() => broker.stop());
      let [kafkaPort, resonatePort] = await findFreePorts(2);
      if (there === "broker") kafkaPort = (await broker.listen({ port: 0 })).port;
      if (there === "server") resonatePort = (await server.listen({ port: 0 })).port;
      const settings = {
        KAFKA_BROKERS: `127.0.0.1:${kafkaPort}`,
        RESONATE_URL: `http://127.0.0.1:${resonatePort}`,
        RECORDS_DB: join(cwd, "records.db"),
      };
      await using worker = spawnWorker(settings, { cwd });
      await until("the worker to wait", () => linesWith(worker, "cannot be reached").length > 0);
      worker.kill("SIGINT");
      assert.equal(await within("the worker's end", worker.exited, 3000), 0);
    });
  }

  test("SIGTERM ends a worker that waits for a broker that does not answer, with exit code 0", async (t) => {
    const cwd = await makeFolder(t);
    await using server = createResonateServer();
    const resonate = await server.listen({ port: 0 });
    // Takes connections and never says a word.
    const mute = await occupy(t, 0);
    const connected = once(mute, "connection");
    const settings = {
      KAFKA_BROKERS: `127.0.0.1:${portOf(mute)}`,
      RESONATE_URL: `http://127.0.0.1:${resonate.port}`,
      RECORDS_DB: join(cwd, "records.db"),
    };
    await using worker = spawnWorker(settings, { cwd });
    const [socket] = await within("a connection", connected);
    worker.kill("SIGTERM");
    assert.equal(await within("the worker's end", worker.exited, 3000), 0);
    socket.destroy();
  });

  for (const [system, option] of [
    ["Kafka broker", "--kafka-port"],
    ["Resonate server", "--resonate-port"],
  ] as const) {
    test(`npm run stack where the ${system}'s port is in use: one clear line, exit code 1`, async (t) => {
      const cwd = await makeFolder(t);
      const occupant = await occupy(t, 0);
      const used = portOf(occupant);
      const [kafkaPort, resonatePort] = await findFreePorts(2);
      const args = [`--kafka-port=${kafkaPort}`, `--resonate-port=${resonatePort}`, `${option}=${used}`];
      const { code, output, errors } = await run(t, "stack", { args, cwd });
      assert.ok(occupant.listening);
      assert.equal(code, 1);
      assert.deepEqual(output, []);
      assert.equal(errors.length, 1);
      const expected = `${system}: expected port ${used} to be free, got one in use`;
      assert.ok(errors[0]?.startsWith(expected), `expected ${expected}, got ${errors[0]}`);
    });
  }

  test("npm run seed prints where each record went, and the sum", async (t) => {
    const { env, settings, folder, records, producer } = await setScene(t);
    const { code, output, errors } = await run(t, "seed", { args: ["-n", "3"], settings: env, cwd: folder });
    assert.deepEqual([code, errors], [0, []]);
    const printed = output.slice(0, -1).map((line) => {
      const [, id, rows, batches, partition, offset] =
        /^record (\w+) with (\d+) rows in (\d+) batches: partition (\d+), offset (\d+)$/.exec(line) ?? [];
      assert.ok(id, `expected a record's line, got ${line}`);
      assert.equal(Number(batches), Math.ceil(Number(rows) / settings.BATCH_SIZE));
      return { id, partition, offset: Number(offset), rows: Number(rows) };
    });
    assert.equal(printed.length, 3);
    const rows = printed.reduce((sum, record) => sum + record.rows, 0);
    assert.equal(output.at(-1), `3 messages are in ${settings.TOPIC_SOURCE}`);
    assert.equal(await records.countRows(), rows);
    // What is produced next stands behind them.
    for (const partition of new Set(printed.map((record) => Number(record.partition)))) {
      const [ack] = await producer.send({
        topic: settings.TOPIC_SOURCE,
        messages: [{ value: "next", partition }],
      });
      const own = printed.filter((record) => Number(record.partition) === partition);
      assert.deepEqual(
        [...own.map(({ offset }) => offset), Number(ack?.baseOffset)],
        Array.from({ length: own.length + 1 }, (_, offset) => offset),
      );
    }
  });

  for (const count of ["0", "x", "-1", "1.5"]) {
    test(`npm run seed -- -n=${count}: one line, exit code 1`, async (t) => {
      const cwd = await makeFolder(t);
      const { code, output, errors } = await run(t, "seed", { args: [`-n${count}`], cwd });
      assert.equal(code, 1);
      assert.deepEqual(output, []);
      assert.deepEqual(errors, [`-n: expected a whole number from 1 to 1000000, got "${count}"`]);
    });
  }

  test("an idle worker leaves the processor alone", async (t) => {
    if (!existsSync("/proc/self/stat")) return t.skip("needs /proc");
    const scene = await setScene(t);
    const worker = await scene.startWorker();
    // What it did last is to start: one record makes it ready in every part.
    const id = await scene.seed({ batches: 1 });
    await until("the completion", () => scene.completionsOf(id).length > 0);
    /** Processor time in clock ticks, of which Linux counts 100 a second: fields 14 and 15 of proc(5). */
    const readTicks = async () => {
      const stat = await readFile(`/proc/${worker.pid}/stat`, "utf8");
      const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
      return Number(fields[11]) + Number(fields[12]);
    };
    const [from, before] = [performance.now(), await readTicks()];
    await setTimeout(5000);
    const ticks = (await readTicks()) - before;
    const percent = (ticks * 1000) / (performance.now() - from);
    assert.ok(percent < 3, `expected less than 3 % of a core, got ${percent.toFixed(1)} %`);
  });
});
