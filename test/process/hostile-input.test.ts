import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { createServer, request as httpRequest, type ServerResponse } from "node:http";
import { text } from "node:stream/consumers";
import { suite, type TestContext, test } from "node:test";
import { isRequest, type Request } from "@resonatehq/sdk";
import type { WorkerProcess } from "../../src/demo/worker-process.ts";
import { requestHead } from "../../src/resonate/request.ts";
import { createListener } from "../../src/stack/listener.ts";
import { ask } from "../helpers/ask.ts";
import { type DeletionScene, setScene } from "../helpers/deletion-scene.ts";
import { linesWith, skipWithoutHttp, until } from "../helpers/scene.ts";

const HOST = "127.0.0.1";

/** What comes back in place of a server's answer: status and body; `undefined` for the true answer. */
type Spoil = (
  request: Request,
  status: number,
  answer: string,
) => { status: number; body: string } | undefined;

/** Stands between a worker and its server, puts lines into the stream of events, and spoils answers. */
const startSpoiler = async (t: TestContext, target: string) => {
  const streams = new Set<ServerResponse>();
  const spoiler = { url: "", streams, spoil: (() => undefined) as Spoil };
  const server = createServer(async (incoming, response) => {
    if (incoming.method !== "POST") {
      const onward = httpRequest(`${target}${incoming.url}`, (answer) => {
        response.writeHead(answer.statusCode ?? 502, answer.headers).flushHeaders();
        if (incoming.url?.startsWith("/poll/")) streams.add(response);
        answer.on("error", () => response.destroy()).pipe(response);
      });
      onward.on("error", () => response.destroy()).end();
      response.on("close", () => {
        streams.delete(response);
        onward.destroy();
      });
      return;
    }
    const body = await text(incoming);
    const request: unknown = JSON.parse(body);
    assert.ok(isRequest(request));
    const answer = await fetch(target, { method: "POST", body });
    const own = { status: answer.status, body: await answer.text() };
    const { status, body: result } = spoiler.spoil(request, own.status, own.body) ?? own;
    response.writeHead(status, { "content-type": "application/json" }).end(result);
  });
  const listener = createListener(server);
  const port = await listener.open({ port: 0, host: HOST });
  t.after(() => listener.close());
  spoiler.url = `http://${HOST}:${port}`;
  return spoiler;
};

const assertDone = async (scene: DeletionScene, worker: WorkerProcess, id: string) => {
  await until(
    `the completion of ${id}`,
    () => {
      assert.ok(worker.kill("SIGCONT"), `expected it to live: ${worker.lines.slice(-10).join("\n")}`);
      return scene.completionsOf(id).length > 0;
    },
    90_000,
  );
};

const promiseOf = (state: string, id = `stray-${randomUUID()}`, data = "") => ({
  id,
  state,
  tags: {},
  param: {},
  value: { headers: {}, data },
  timeoutAt: Date.now() + 60_000,
  createdAt: 1,
});
const unblock = (promise: object) => JSON.stringify({ kind: "unblock", head: {}, data: { promise } });
const execute = (id: unknown, version: unknown) =>
  JSON.stringify({ kind: "execute", head: {}, data: { task: { id, version } } });

suite("hostile input to a worker", { concurrency: 2, timeout: 240_000 }, () => {
  test("events that are malformed, meant for nobody, or too long end, deafen and block nothing", {
    skip: skipWithoutHttp,
  }, async (t) => {
    const scene = await setScene(t);
    const spoiler = await startSpoiler(t, scene.env.RESONATE_URL ?? "");
    const worker = await scene.startWorker({ RESONATE_URL: spoiler.url });
    const undecodable = Buffer.from("{").toString("base64");
    const events = [
      "",
      "null",
      "5",
      "{}",
      "{",
      '"\\ud800"',
      "[".repeat(100_000),
      '{"kind":"execute"}',
      '{"kind":"unblock","head":{},"data":{}}',
      '{"kind":"execute","head":null,"data":{"task":{"id":"a","version":1}}}',
      '{"kind":"odd","head":{},"data":{}}',
      execute(5, 1),
      execute("nobody", "1"),
      execute("nobody", 1e308),
      execute("", 0),
      execute("__proto__", 1),
      execute("\u202e\u0000\u2028", 1),
      execute("x".repeat(100_000), 1),
      unblock(promiseOf("pending")),
      unblock(promiseOf("resolved")),
      unblock(promiseOf("resolved", "a", "%%%")),
      unblock(promiseOf("rejected", "b", undecodable)),
      unblock(promiseOf("rejected_canceled")),
      unblock(promiseOf("odd")),
    ];
    const [stream] = await until("its stream", () => spoiler.streams.size > 0 && [...spoiler.streams]);
    for (const event of events) stream?.write(`data: ${event}\n\n`);
    stream?.write(Buffer.from([0xff, 0xfe, 0x0a, 0x80, 0x0a]));
    stream?.write("event: x\nretry: 1\n: y\ndata\n\r\n");
    await assertDone(scene, worker, await scene.seed({ batches: 2 }));

    // No end of a line: more than is gathered.
    const chunk = Buffer.alloc(1024 * 1024, "x");
    const closed = new Promise((resolve) => stream?.on("close", resolve));
    let isClosed = false;
    void closed.then(() => (isClosed = true));
    for (let i = 0; i < 40 && !isClosed; i++)
      await Promise.race([new Promise((resolve) => stream?.write(chunk, resolve)), closed]);
    await until("the stream to be left", () => isClosed);
    await until("another stream", () => spoiler.streams.size > 0);
    await assertDone(scene, worker, await scene.seed({ batches: 2 }));
    assert.ok(!worker.lines.some((line) => /^\s+at /.test(line)), "no stack");
  });

  test("answers that are none are no answers", { skip: skipWithoutHttp }, async (t) => {
    const scene = await setScene(t, { BATCH_PAUSE_MS: "300" });
    const spoiler = await startSpoiler(t, scene.env.RESONATE_URL ?? "");
    const worker = await scene.startWorker({ RESONATE_URL: spoiler.url });
    const edit = (
      answer: string,
      change: (data: { task?: object; promise?: object; action?: unknown }) => void,
    ) => {
      const parsed = JSON.parse(answer);
      change(parsed.data);
      return JSON.stringify(parsed);
    };
    const ways: Spoil[] = [
      () => ({ status: 200, body: "<html>it works</html>" }),
      () => ({ status: 200, body: "" }),
      () => ({ status: 200, body: "null" }),
      () => ({ status: 502, body: "\u0000\u202e".repeat(10_000) }),
      () => ({ status: 302, body: "" }),
      (_, status, answer) => ({ status, body: answer.slice(0, -1) }),
      (_, status, answer) => ({ status, body: answer.replace(/"corrId":"[^"]*"/, '"corrId":"other"') }),
      (_, status) => ({ status, body: JSON.stringify({ kind: "odd", head: requestHead(), data: {} }) }),
      (_, status, answer) => ({
        status,
        body: edit(answer, (data) => {
          data.task = { id: "x", state: "pending", version: 1 };
        }),
      }),
      (_, status, answer) => ({
        status,
        body: edit(answer, (data) => {
          delete data.task;
        }),
      }),
      (_, status, answer) => ({
        status,
        body: edit(answer, (data) => {
          data.promise = promiseOf("pending");
        }),
      }),
      (_, status, answer) => ({ status, body: answer.replaceAll('"state":"resolved"', '"state":"pending"') }),
    ];
    const spoiled = new Map<string, number>();
    const kinds = [
      "task.create",
      "task.acquire",
      "task.fence",
      "task.suspend",
      "task.fulfill",
      "promise.register_listener",
      "task.heartbeat",
    ];
    spoiler.spoil = (request, status, answer) => {
      // Every third one, each in another way.
      const { kind } = request;
      if (!kinds.includes(kind) || status !== 200) return;
      const count = (spoiled.get(kind) ?? 0) + 1;
      spoiled.set(kind, count);
      return count % 3 === 0 && count / 3 <= ways.length
        ? ways[count / 3 - 1]?.(request, status, answer)
        : undefined;
    };
    const ids: string[] = [];
    // A pause that is over as an execution suspends asks for no lease, so it may take more records.
    await until("each way to have been met", async () => {
      const counts = ["task.create", "task.acquire", "task.fence"].map((kind) => spoiled.get(kind) ?? 0);
      if (Math.min(...counts) >= ways.length * 3) return true;
      const open = ids.filter((id) => scene.completionsOf(id).length === 0);
      if (open.length < 26) ids.push(await scene.seed({ batches: 3 }));
      return false;
    });
    for (const id of ids) await assertDone(scene, worker, id);
    for (const id of ids) {
      assert.deepEqual(
        (await scene.entriesOf(id)).map(({ batch }) => batch),
        [0, 1, 2],
      );
    }
    for (const line of worker.lines) {
      assert.ok(line.length < 1200, `a line of ${line.length} characters`);
      // biome-ignore lint/suspicious/noControlCharactersInRegex: these must not be there
      assert.doesNotMatch(line, /[\u0000\u202e]/);
    }
  });

  for (const version of [null, "1", -1]) {
    test(`an execution with ${JSON.stringify(version)} for the version of its function ends no worker`, async (t) => {
      const scene = await setScene(t);
      const worker = await scene.startWorker();
      const id = `poison-${randomUUID()}`;
      const call = { func: `deletion:${scene.settings.TOPIC_SOURCE}`, args: ["{}"], version };
      const data = {
        id,
        timeoutAt: Date.now() + 600_000,
        param: { headers: {}, data: Buffer.from(JSON.stringify(call)).toString("base64") },
        tags: {
          "resonate:origin": id,
          "resonate:branch": id,
          "resonate:parent": id,
          "resonate:target": `poll://any@${scene.env.RESONATE_GROUP}`,
        },
      };
      assert.equal(await ask(scene, { kind: "promise.create", head: requestHead(), data }), 200);
      await until(
        "the worker to hand it back",
        () => linesWith(worker, `execution ${id} cannot go on here`).length > 0,
      );
      await assertDone(scene, worker, await scene.seed({ batches: 2 }));
    });
  }

  test("messages with control characters, marks of direction and huge texts reach the log visibly and cut", async (t) => {
    const scene = await setScene(t);
    const worker = await scene.startWorker();
    const values = [
      '"a\\u0000b"',
      '"\\u202eabc"',
      '"\\u2028\\u2029"',
      "\u0000\u0007\u001b[31mred\u001b[0m",
      "\u202eevil",
      "x\r\nfake line [worker 1] ready",
      "y".repeat(200_000),
      JSON.stringify("z".repeat(100_000)),
      '"\\ud800"',
      "[".repeat(50_000),
      '{"__proto__":1}',
      "\ufeff",
      "",
    ];
    await scene.produce(
      ...values.map((value, i) => ({ key: `k\u202e\u0000${i}`, value, headers: { "\u202eh\n": "\u0000" } })),
    );
    await assertDone(scene, worker, await scene.seed({ batches: 1 }));
    await until(
      "their dead letters or completions",
      () => scene.deadLetters.length + scene.completions.length >= values.length,
      30_000,
    );
    assert.ok(scene.deadLetters.length > 5, `${scene.deadLetters.length} dead letters`);
    assert.ok(linesWith(worker, "message goes to").length > 5);
    for (const { msg, ...fields } of worker.log) {
      assert.equal(fields.pid, worker.pid, `each line is the worker's own: ${msg}`);
      for (const text of [msg, ...Object.values(fields).map(String)]) {
        assert.ok(text.length < 1200, `a text of ${text.length} characters`);
        // biome-ignore lint/suspicious/noControlCharactersInRegex: these must not be there
        assert.doesNotMatch(text, /[\u0000-\u001f\u2028\u2029\u202a-\u202e]/);
      }
    }
  });
});
