import { randomUUID } from "node:crypto";
import type { TestContext } from "node:test";
import {
  HttpNetwork,
  isSuccess,
  type Message,
  PollMessageSource,
  type PromiseCreateReq,
  type PromiseRegisterCallbackReq,
  type PromiseSettleReq,
  type Response,
} from "@resonatehq/sdk";
import { openPostgres } from "../../src/resonate/transports/postgres.ts";
import { createResonateServer } from "../../src/stack/resonate-server.ts";
import { isPostgres } from "../../src/support/postgres.ts";
import { accessTo, silent } from "../helpers/unit-resonate.ts";
import { afterwards, eventually, randomName } from "./contract.ts";

/** A real Resonate server to run the contract against; without, an embedded one is started. */
const realUrl = isPostgres(process.env.RESONATE_URL ?? "") ? undefined : process.env.RESONATE_URL;

/** The server a contract test talks to. An embedded one is stopped after the test. */
export const startServer = async (t: TestContext): Promise<string> => {
  if (realUrl !== undefined) return realUrl;
  const server = createResonateServer();
  afterwards(t, () => server[Symbol.asyncDispose]());
  const { host, port } = await server.listen({ port: 0 });
  return `http://${host}:${port}`;
};

/** Far off: no promise of a test ends by itself unless the test says so. */
const LATER_MS = 3_600_000;

/** Tags of a promise on the branch of the execution `id`: it comes along when that is resumed. */
export const branchOf = (id: string) => ({
  "resonate:origin": id,
  "resonate:branch": id,
  "resonate:parent": id,
});

const PROBE = "probe";

/** A promise of a larger scope than a step's can be awaited by other executions and listened to. */
export const GLOBAL = { "resonate:scope": "global", "resonate:external": "true" };

const head = () => ({ corrId: randomUUID(), version: "2026-04-01" });

/** A request, to be the action of another. */
export const promiseCreate = (
  id: string,
  {
    tags = {},
    timeoutAt = Date.now() + LATER_MS,
  }: { tags?: Record<string, string>; timeoutAt?: number } = {},
): PromiseCreateReq => ({
  kind: "promise.create",
  head: head(),
  data: { id, timeoutAt, param: {}, tags },
});

export const promiseSettle = (
  id: string,
  data: unknown,
  state: PromiseSettleReq["data"]["state"] = "resolved",
): PromiseSettleReq => ({
  kind: "promise.settle",
  head: head(),
  data: { id, state, value: { data: btoa(JSON.stringify(data)), headers: {} } },
});

type Granted = { head: { status: 200 } };

/** The data of an answer that is a success; throws at any other. */
export const granted = <R extends Response>(answer: R): Extract<R, Granted>["data"] => {
  if (isSuccess(answer)) return answer.data;
  throw new Error(`expected a success, got ${JSON.stringify(answer)}`);
};

export type Client = Awaited<ReturnType<typeof connect>>;

/** A server by the SDK's own client, Postgres by ours. */
const openWay = (t: TestContext, url: string, group: string, pid: string) => {
  if (isPostgres(url)) {
    const transport = openPostgres({ access: accessTo(url), group, pid, logger: silent });
    afterwards(t, () => transport[Symbol.asyncDispose]());
    void transport.messages.init();
    return { source: transport.messages, send: transport.send };
  }
  const source = new PollMessageSource({ url: `${url}/poll/${group}/${pid}` });
  return { source, send: new HttpNetwork({ url, adapter: source }).send };
};

/** Connects a worker to `group`, and waits until messages reach it. */
export const connect = async (t: TestContext, url: string, group: string) => {
  const pid = randomName("worker");
  const { source, send } = openWay(t, url, group, pid);
  afterwards(t, () => source.stop());
  const messages: Message[] = [];
  let reached = false;
  source.onReceive((message) => {
    if (message.kind === "unblock" && message.data.promise.id.startsWith(PROBE)) reached = true;
    else messages.push(message);
  });

  const client = {
    messages,
    /** Its own address, and that by which the server prefers it among its group. */
    unicast: source.unicast,
    anycast: source.anycast,
    /** The versions in which the execution `id` was sent here. */
    sent: (id: string) =>
      messages.flatMap((message) =>
        message.kind === "execute" && message.data.task.id === id ? message.data.task.version : [],
      ),
    /** Ends its connection for messages. */
    leave: () => source.stop(),

    create: (request: PromiseCreateReq) => send(request),
    settle: (request: PromiseSettleReq) => send(request),
    get: (id: string) => send({ kind: "promise.get", head: head(), data: { id } }),
    listen: (awaited: string) =>
      send({ kind: "promise.register_listener", head: head(), data: { awaited, address: source.unicast } }),

    /** Begins an execution whose messages go to `target`. */
    begin: (id: string, { ttl = LATER_MS, target = source.anycast } = {}) => {
      const tags = { ...branchOf(id), ...GLOBAL, "resonate:target": target };
      const action = promiseCreate(id, { tags });
      return send({ kind: "task.create", head: head(), data: { pid, ttl, action } });
    },
    acquire: (id: string, version: number, ttl = LATER_MS) =>
      send({ kind: "task.acquire", head: head(), data: { id, version, pid, ttl } }),
    fence: (id: string, version: number, action: PromiseCreateReq | PromiseSettleReq) =>
      send({ kind: "task.fence", head: head(), data: { id, version, action } }),
    beat: (id: string, version: number) => client.beatAll([{ id, version }]),
    beatAll: (tasks: { id: string; version: number }[]) =>
      send({ kind: "task.heartbeat", head: head(), data: { pid, tasks } }),
    release: (id: string, version: number) =>
      send({ kind: "task.release", head: head(), data: { id, version } }),
    suspend: (id: string, version: number, awaited: readonly string[]) => {
      const actions = awaited.map((one): PromiseRegisterCallbackReq => {
        return { kind: "promise.register_callback", head: head(), data: { awaiter: id, awaited: one } };
      });
      return send({ kind: "task.suspend", head: head(), data: { id, version, actions } });
    },
    fulfill: (id: string, version: number, value: unknown) =>
      send({ kind: "task.fulfill", head: head(), data: { id, version, action: promiseSettle(id, value) } }),
  };

  await eventually("messages reach the worker", async () => {
    const id = randomName(PROBE);
    granted(await client.create(promiseCreate(id, { tags: GLOBAL })));
    granted(await client.listen(id));
    granted(await client.settle(promiseSettle(id, null)));
    return reached;
  });
  return client;
};
