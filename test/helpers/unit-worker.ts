import { randomUUID } from "node:crypto";
import type { TestContext } from "node:test";
import { type Context, type Logger, type Request, Resonate, type Response } from "@resonatehq/sdk";
import { type Connection, connect, endedIn } from "../../src/resonate/connection.ts";
import { createResonateServer, type ResonateServer } from "../../src/stack/resonate-server.ts";
import { silentLog } from "../../src/support/log.ts";
import { accessTo, silent } from "./unit-resonate.ts";
import { until } from "./unit-time.ts";

/** Requests and answers as the server saw them. */
export type Exchange = readonly [request: Request, response: Response];

export interface TracedServer {
  readonly server: ResonateServer;
  readonly url: string;
  /** Those about executions of the test. */
  readonly exchanges: readonly Exchange[];
}

const PROBE = "probe-";

export const startServer = async (t: TestContext): Promise<TracedServer> => {
  const exchanges: Exchange[] = [];
  const server = createResonateServer({
    onExchange: (request, response) => {
      if (!JSON.stringify(request).includes(PROBE)) exchanges.push([request, response]);
    },
  });
  const { host, port } = await server.listen({ port: 0 });
  t.after(() => server[Symbol.asyncDispose]());
  return { server, url: `http://${host}:${port}`, exchanges };
};

export interface LeasedWorker {
  readonly network: Connection;
  readonly resonate: Resonate;
  /** How many executions hold a lease here. */
  readonly held: number;
  /** Executions that were told to have ended. */
  readonly ended: readonly string[];
  /** How often its connection for messages was lost. */
  readonly losses: number;
  /** Resolves once a message has reached it. */
  reached(): Promise<void>;
}

/** A worker as `startWorker` wires it, without Kafka. From its return on messages reach it. */
export const startLeased = async (
  t: TestContext,
  { url }: Pick<TracedServer, "url">,
  { ttl = 60_000, group = "workers" }: { ttl?: number; group?: string } = {},
): Promise<LeasedWorker> => {
  const pid = randomUUID();
  const ended: string[] = [];
  let losses = 0;
  const logger: Logger = {
    ...silent,
    warn: (_fields, message) => {
      if (message === "no executions arrive, connecting again") losses += 1;
    },
  };
  const leased = new Set<string>();
  const onAnswer = (request: Request, response: Response | undefined) => {
    if (response === undefined) return;
    if (request.kind === "task.create") leased.add(request.data.action.data.id);
    if (request.kind === "task.acquire") leased.add(request.data.id);
    const id = endedIn(request, response);
    if (id !== undefined && !id.startsWith(PROBE)) ended.push(id);
  };
  const assertFit = async () => {};
  const network = connect({
    access: accessTo(url),
    group,
    pid,
    ttl,
    logger,
    log: silentLog,
    onAnswer,
    assertFit,
  });
  const held = () => [...leased].filter((id) => network.leaseOf(id) !== undefined).length;
  const resonate = new Resonate({ network, pid, ttl, logger: silent });
  t.after(() => resonate.stop());

  let probes = 0;
  const probe = resonate.register("probe", async () => {
    probes += 1;
  });
  const reached = async () => {
    const before = probes;
    // Only this worker takes it, and a server keeps nothing for one that is not connected.
    const options = resonate.options({ target: network.unicast });
    const isReached = () => {
      if (probes === before) void probe.beginRpc(`${PROBE}${randomUUID()}`, options);
      return probes > before;
    };
    await until("a message reaches the worker", isReached, 5000, 20);
    await until("the probes are done", () => held() === 0);
  };
  await reached();
  return {
    network,
    resonate,
    ended,
    get losses() {
      return losses;
    },
    get held() {
      return held();
    },
    reached,
  };
};

/** Requests of a kind, as far as the server has answered them. */
export const requestsOf = <K extends Request["kind"]>({ exchanges }: TracedServer, kind: K) =>
  exchanges
    .map(([request]) => request)
    .filter((request): request is Extract<Request, { kind: K }> => request.kind === kind);

/** Registers a workflow of two steps, whose ends are in the hands of the test. */
export const registerTwoSteps = (worker: LeasedWorker) => {
  const started: string[] = [];
  const ends = { first: Promise.withResolvers<string>(), second: Promise.withResolvers<string>() };
  const first = async (_ctx: Context) => {
    started.push("first");
    return ends.first.promise;
  };
  const second = async (_ctx: Context) => {
    started.push("second");
    return ends.second.promise;
  };
  const workflow = worker.resonate.register(function* twoSteps(
    ctx: Context,
  ): Generator<unknown, string, unknown> {
    const one = yield* ctx.run(first);
    const two = yield* ctx.run(second);
    return `${one}, ${two}`;
  });
  return { workflow, started, ends };
};
