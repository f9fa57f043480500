import { randomUUID } from "node:crypto";
import type { TestContext } from "node:test";
import { type Logger, type Request, Resonate, type Response } from "@resonatehq/sdk";
import { connectLeased, type LeasedNetwork } from "../../src/resonate/leases.ts";
import { createResonateServer, type ResonateServer } from "../../src/stack/resonate-server.ts";
import { silent } from "./unit-resonate.ts";
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
  readonly network: LeasedNetwork;
  readonly resonate: Resonate;
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
  const onEnded = (id: string) => {
    if (!id.startsWith(PROBE)) ended.push(id);
  };
  const network = connectLeased({ url, token: "", group, pid, ttl, logger, onEnded });
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
    await until("the probes are done", () => network.held === 0);
  };
  await reached();
  return {
    network,
    resonate,
    ended,
    get losses() {
      return losses;
    },
    reached,
  };
};
