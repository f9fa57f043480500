import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { request as httpRequest } from "node:http";
import { connect } from "node:net";
import { createInterface } from "node:readline";
import { suite, type TestContext, test } from "node:test";
import { setTimeout } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { logLevel } from "kafkajs";
import { createKafka } from "../../src/kafka/client.ts";
import { requestHead } from "../../src/resonate/request.ts";
import { silentLog } from "../../src/support/log.ts";
import { createRandom } from "../../src/support/random.ts";
import { findFreePort } from "../helpers/free-port.ts";
import { until, within } from "../helpers/scene.ts";

const STACK = fileURLToPath(new URL("../../src/bin/stack.ts", import.meta.url));
const HOST = "127.0.0.1";

/** The embedded stack in a process of its own, which hostile input could end. */
const startStack = async (t: TestContext) => {
  const [kafkaPort, resonatePort] = [await findFreePort(), await findFreePort()];
  const args = [STACK, `--kafka-port=${kafkaPort}`, `--resonate-port=${resonatePort}`];
  const child = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "pipe"] });
  t.after(() => child.kill("SIGKILL"));
  const lines: string[] = [];
  for (const input of [child.stdout, child.stderr])
    createInterface({ input }).on("line", (line) => lines.push(line));
  await until("the stack", () => lines.some((line) => line.startsWith("Kafka broker at ")));
  const url = `http://${HOST}:${resonatePort}`;

  const send = async (kind: string, data: object) => {
    const body = JSON.stringify({ kind, head: requestHead(), data });
    const response = await fetch(url, { method: "POST", body, signal: AbortSignal.timeout(10_000) });
    return { status: response.status, answer: await response.text() };
  };
  /** Fails unless the server still keeps promises and time. */
  const assertServerWorks = async () => {
    assert.equal(child.exitCode, null, `expected it to live: ${lines.slice(-5).join("\n")}`);
    const id = `works-${Math.random()}`;
    // Only what is addressed to somebody ends by the clock.
    const tags = { "resonate:target": "poll://any@nobody" };
    const created = await send("promise.create", { id, timeoutAt: Date.now() + 500, param: {}, tags });
    assert.equal(created.status, 200, created.answer);
    await until(
      "the promise to time out",
      async () =>
        (await send("promise.search", { state: "rejected_timedout", limit: 1000 })).answer.includes(id),
      10_000,
    );
    assert.equal(child.exitCode, null, lines.slice(-5).join("\n"));
  };
  /** Fails unless the broker still answers. */
  const assertBrokerWorks = async () => {
    assert.equal(child.exitCode, null, `expected it to live: ${lines.slice(-5).join("\n")}`);
    const settings = { KAFKA_BROKERS: [`${HOST}:${kafkaPort}`] };
    const kafka = createKafka(settings, { clientId: "test", log: silentLog, level: logLevel.NOTHING });
    const admin = kafka.admin();
    await within("the broker", admin.connect());
    try {
      assert.ok(Array.isArray(await within("topics", admin.listTopics())));
    } finally {
      await admin.disconnect();
    }
  };
  return { child, lines, kafkaPort, resonatePort, url, send, assertServerWorks, assertBrokerWorks };
};

/** Writes bytes to a port; resolves with what comes back until the other side closes, or after `ms`. */
const writeRaw = async (port: number, chunks: readonly (Buffer | string)[], ms = 1000): Promise<string> => {
  const socket = connect({ host: HOST, port });
  socket.on("error", () => {});
  let answer = "";
  socket.on("data", (chunk) => {
    answer += chunk.toString("latin1");
  });
  for (const chunk of chunks) socket.write(chunk);
  await Promise.race([new Promise((resolve) => socket.once("close", resolve)), setTimeout(ms)]);
  socket.destroy();
  return answer;
};

const HOSTILE = [
  null,
  true,
  0,
  -1,
  1e308,
  2 ** 53,
  "",
  "x",
  "\u0000\u202e\u2028",
  "%E0%A4%A",
  "__proto__",
  [],
  {},
  [null],
  { headers: {}, data: "%%%" },
  { data: Buffer.from('{"func":1}').toString("base64") },
];
const TARGETS = [
  "poll://any@%E0",
  "poll://any@g/%",
  "poll://uni@",
  "poll://any@a/b/c",
  "http://[",
  "",
  "\u0000",
];
const KINDS: Readonly<Record<string, readonly string[]>> = {
  "promise.get": ["id"],
  "promise.create": ["id", "timeoutAt", "param", "tags"],
  "promise.settle": ["id", "state", "value"],
  "promise.register_callback": ["awaited", "awaiter"],
  "promise.register_listener": ["awaited", "address"],
  "promise.search": ["state", "tags", "limit", "cursor"],
  "task.get": ["id"],
  "task.create": ["pid", "ttl", "action"],
  "task.acquire": ["id", "version", "pid", "ttl"],
  "task.release": ["id", "version"],
  "task.suspend": ["id", "version", "actions"],
  "task.halt": ["id"],
  "task.continue": ["id"],
  "task.fulfill": ["id", "version", "action"],
  "task.fence": ["id", "version", "action"],
  "task.heartbeat": ["pid", "tasks"],
  "task.search": ["state", "limit", "cursor"],
  "schedule.get": ["id"],
  "schedule.create": ["id", "cron", "promiseId", "promiseTimeout", "promiseParam", "promiseTags"],
  "schedule.delete": ["id"],
  "schedule.search": ["tags", "limit", "cursor"],
  "debug.tick": ["time"],
  "debug.reset": [],
  "odd.kind": ["id"],
};

/** Requests of the protocol with fields that are nearly right, or not at all. */
const makeRequests = (random: () => number) => {
  const pick = <T>(from: readonly T[]): T => from[Math.floor(random() * from.length)] as T;
  const ids = ["a", "b", "c", "a:1", "%", "__proto__", ""];
  const tags = () => ({
    "resonate:target": pick([...TARGETS, "poll://any@g", 5, null, {}]),
    ...(random() < 0.3 && { "resonate:timer": pick(["true", 1, null]) }),
    ...(random() < 0.3 && { "resonate:delay": pick(["1", "x", "-1", "NaN", 5, null, {}]) }),
    ...(random() < 0.3 && { "resonate:origin": pick(["a", 5, null]) }),
    ...(random() < 0.3 && { "resonate:scope": pick(["local", "global", 5]) }),
  });
  const wellFormed: Readonly<Record<string, () => unknown>> = {
    id: () => pick(ids),
    awaited: () => pick(ids),
    awaiter: () => pick(ids),
    promiseId: () => pick(["{{.id}}", "s"]),
    timeoutAt: () => Date.now() + pick([-1e6, 0, 50, 1e6, 1e300]),
    ttl: () => pick([-1, 0, 10, 1000, 1e300]),
    param: () => pick([{}, { headers: {}, data: "eA==" }]),
    value: () => ({}),
    promiseParam: () => ({}),
    tags,
    promiseTags: tags,
    state: () => pick(["pending", "resolved", "rejected"]),
    version: () => pick([0, 1, 2]),
    pid: () => pick(["p", "%"]),
    limit: () => pick([1, 1000]),
    cursor: () => "a",
    address: () => pick(TARGETS),
    cron: () => pick(["* * * * * *", "* * * * *", "0 0 30 2 *", "bad"]),
    promiseTimeout: () => pick([-1, 100]),
    tasks: () => [{ id: pick(ids), version: 1 }],
    time: () => 0,
    action: () => requestOf(pick(["promise.create", "promise.settle"])),
    actions: () => [requestOf("promise.register_callback")],
  };
  const requestOf = (kind: string): { kind: string; head: unknown; data: unknown } => {
    const fields = (KINDS[kind] ?? []).map((name) => {
      const value = random() < 0.15 ? pick(HOSTILE) : wellFormed[name]?.();
      return [name, value] as const;
    });
    return { kind, head: random() < 0.03 ? pick(HOSTILE) : requestHead(), data: Object.fromEntries(fields) };
  };
  return () => requestOf(pick(Object.keys(KINDS)));
};

suite("hostile input to the embedded stack", { concurrency: 2, timeout: 120_000 }, () => {
  test("HTTP that is malformed, huge, half-sent or badly encoded", async (t) => {
    const { resonatePort, url, assertServerWorks } = await startStack(t);
    for (const path of [
      "/poll/%/x",
      "/poll/a/%E0%A4%A",
      "/poll/%ff/%ff",
      "/poll/",
      "/poll",
      "/poll/a",
      "/%",
      "//",
      "/poll/%00/%0d%0a",
    ]) {
      await writeRaw(
        resonatePort,
        [
          `GET ${path} HTTP/1.1
Host: x

`,
        ],
        200,
      );
    }
    for (const raw of [
      "\r\n\r\n",
      "GET / HTTP/9.9\r\n\r\n",
      "\u0016\u0003\u0001\u0002\u0000",
      `GET /${"a".repeat(100_000)} HTTP/1.1\r\n\r\n`,
      "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
      "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n",
      "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
      "OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n",
      "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{",
      "CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n",
      "GET /poll/a/b HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
    ])
      await writeRaw(resonatePort, [raw], 200);
    for (const body of ["", "null", "[]", "{", "\ufeff{}", '{"kind":5}', "[".repeat(200_000), '"\ud800"']) {
      const response = await fetch(url, { method: "POST", body });
      assert.equal(response.status, 400, body.slice(0, 20));
      await response.text();
    }
    await assertServerWorks();
  });

  test("a body without a length is read no further than a request may be large", async (t) => {
    const { resonatePort, assertServerWorks } = await startStack(t);
    const request = httpRequest({ host: HOST, port: resonatePort, method: "POST", path: "/" });
    const answered = once(request, "response");
    const failed = once(request, "error").catch(() => {});
    const chunk = Buffer.alloc(1024 * 1024, " ");
    let sent = 0;
    const ended = Promise.race([
      answered.then(([{ statusCode }]) => statusCode),
      failed.then(() => "cut off"),
    ]);
    const write = async () => {
      while (sent < 200 && !request.destroyed && !request.writableEnded) {
        sent += 1;
        if (!request.write(chunk)) await Promise.race([once(request, "drain"), ended]);
      }
      request.end();
    };
    write().catch(() => {});
    const outcome = await within("an answer", ended);
    assert.ok(outcome === 413 || outcome === "cut off", String(outcome));
    assert.ok(sent < 200, "it was not read to its end");
    request.destroy();
    await assertServerWorks();
  });

  test("requests of the protocol with fields that are not what they should be", async (t) => {
    const { url, assertServerWorks } = await startStack(t);
    const next = makeRequests(createRandom(46));
    const statuses = new Map<number | string, number>();
    for (let i = 0; i < 1000; i++) {
      const body = JSON.stringify(next());
      const status = await fetch(url, { method: "POST", body, signal: AbortSignal.timeout(5000) }).then(
        async (response) => {
          await response.text();
          return response.status;
        },
        (error: Error) => `${error.message}: ${body}`,
      );
      statuses.set(status, (statuses.get(status) ?? 0) + 1);
      if (typeof status === "string") break;
    }
    const unanswered = [...statuses.keys()].filter((status) => typeof status === "string");
    assert.deepEqual(unanswered, [], "each gets an answer");
    assert.ok(
      (statuses.get(200) ?? 0) > 100 && (statuses.get(400) ?? 0) > 100,
      JSON.stringify([...statuses]),
    );
    await assertServerWorks();
  });

  test("Kafka frames that are truncated, too long, or not frames", async (t) => {
    const { kafkaPort, assertBrokerWorks } = await startStack(t);
    const random = createRandom(50);
    const frame = (body: Buffer) => {
      const length = Buffer.alloc(4);
      length.writeInt32BE(body.length);
      return Buffer.concat([length, body]);
    };
    const head = (api: number, version: number) => {
      const bytes = Buffer.alloc(10);
      bytes.writeInt16BE(api, 0);
      bytes.writeInt16BE(version, 2);
      bytes.writeInt16BE(-1, 8);
      return bytes;
    };
    const int32 = (value: number) => {
      const bytes = Buffer.alloc(4);
      bytes.writeInt32BE(value);
      return bytes;
    };
    const raw: Buffer[] = [
      int32(0),
      int32(-1),
      int32(2 ** 31 - 1),
      int32(-(2 ** 31)),
      int32(100 * 1024 * 1024),
      Buffer.from("GET / HTTP/1.1\r\n\r\n"),
      Buffer.alloc(3),
      frame(Buffer.alloc(1)),
    ];
    const versions = [-1, 0, 1, 2, 3, 4, 5, 7, 11, 99];
    const bodies = [
      Buffer.alloc(0),
      int32(2 ** 31 - 1),
      int32(-2),
      Buffer.alloc(64, 0xff),
      Buffer.alloc(64),
      Buffer.from([0x7f, 0xff, 1, 2, 3]),
      Buffer.from([0, 3, 0xff, 0xfe, 0xfd]),
    ];
    for (let api = -1; api <= 45; api++) {
      for (const version of versions)
        for (const body of bodies) raw.push(frame(Buffer.concat([head(api, version), body])));
    }
    for (let i = 0; i < 1000; i++) {
      const body = Buffer.from(
        Array.from({ length: Math.floor(random() * 200) }, () => Math.floor(random() * 256)),
      );
      raw.push(frame(Buffer.concat([head(Math.floor(random() * 43), Math.floor(random() * 8)), body])));
    }
    const lanes = Array.from({ length: 32 }, async (_, lane) => {
      for (let i = lane; i < raw.length; i += 32) await writeRaw(kafkaPort, [raw[i] ?? Buffer.alloc(0)], 30);
    });
    await Promise.all(lanes);
    await assertBrokerWorks();
  });

  test("connections that are opened and left half-way hold nobody up", async (t) => {
    const { kafkaPort, resonatePort, assertServerWorks, assertBrokerWorks } = await startStack(t);
    const sockets = Array.from({ length: 200 }, (_, i) => {
      const socket = connect({ host: HOST, port: i % 2 ? kafkaPort : resonatePort, allowHalfOpen: true });
      socket.on("error", () => {});
      t.after(() => socket.destroy());
      if (i % 4 === 0) socket.write("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 50\r\n\r\n{");
      if (i % 4 === 1) socket.write(Buffer.from([0, 0, 1, 0, 0, 3]));
      if (i % 4 === 2) socket.end("GET /poll/g/p HTTP/1.1\r\nHost: x\r\n\r\n");
      if (i % 4 === 3) socket.end();
      return socket;
    });
    await Promise.all(sockets.map((socket) => (socket.connecting ? once(socket, "connect") : undefined)));
    await Promise.all([assertServerWorks(), assertBrokerWorks()]);
  });
});
