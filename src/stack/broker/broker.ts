import { createServer, type Server, type Socket } from "node:net";
import { type Connection, serveConnection } from "./connection.ts";
import { Groups } from "./groups.ts";
import type { BrokerState } from "./request.ts";
import { Topics } from "./topics.ts";

export interface BrokerOptions {
  /** Partitions of a topic that is created without saying how many. Default 1. */
  defaultPartitions?: number;
  /** Whether a topic comes into being when a client asks for its metadata, as in development containers. Default true. */
  autoCreateTopics?: boolean;
  /** Told of connections that end in an error. Default: nobody. */
  logger?: (message: string) => void;
}

export interface Broker {
  /**
   * Listens, on a free port if `port` is 0 and on 127.0.0.1 unless told otherwise; clients are directed to this
   * address, or to `localhost` if the host is a wildcard.
   * Rejects with the error of the listener (code EADDRINUSE, EACCES, …), or if the broker listens already.
   */
  listen(options: { port: number; host?: string }): Promise<{ host: string; port: number }>;
  /** Closes the listener and all connections. Logs and committed offsets stay, group memberships do not. */
  stop(): Promise<void>;
  /** Cuts every open connection and goes on listening. @returns how many there were */
  dropConnections(): number;
}

const wildcards = new Set(["0.0.0.0", "::", ""]);

const startServer = (server: Server, port: number, host: string): Promise<number> => {
  const { promise, resolve, reject } = Promise.withResolvers<number>();
  server.once("error", reject);
  server.listen({ port, host }, () => {
    server.off("error", reject);
    const address = server.address();
    resolve(typeof address === "object" && address !== null ? address.port : port);
  });
  return promise;
};

const closeServer = (server: Server): Promise<void> => {
  const { promise, resolve } = Promise.withResolvers<void>();
  server.close(() => resolve());
  return promise;
};

/**
 * A Kafka broker for development and tests: one node, in memory, without security or transactions. It speaks the
 * versions of the protocol before the flexible ones (see `apis.ts`), enough for kafkajs and librdkafka. What is
 * produced stays in memory until its topic is deleted.
 */
export const createBroker = (options: BrokerOptions = {}): Broker => {
  const { defaultPartitions = 1, autoCreateTopics = true, logger = () => {} } = options;
  const state: BrokerState = {
    topics: new Topics(defaultPartitions),
    groups: new Groups(),
    autoCreateTopics,
    advertised: { host: "", port: 0 },
    nextProducerId: 1n,
  };
  const connections = new Set<Connection>();
  let server: Server | undefined;

  const accept = (socket: Socket) => {
    const connection = serveConnection(socket, state, logger);
    connections.add(connection);
    socket.once("close", () => connections.delete(connection));
  };

  const dropConnections = () => {
    const { size } = connections;
    for (const connection of connections) connection.destroy();
    return size;
  };

  const listen = async ({ port, host = "127.0.0.1" }: { port: number; host?: string }) => {
    if (server !== undefined) throw new Error(`the broker listens on port ${state.advertised.port} already`);
    const starting = createServer(accept);
    server = starting;
    try {
      const boundPort = await startServer(starting, port, host);
      state.advertised = {
        host: wildcards.has(host) ? "localhost" : host,
        port: boundPort,
      };
    } catch (error) {
      server = undefined;
      throw error;
    }
    starting.on("error", (error) => logger(`listener: ${error.message}`));
    return { ...state.advertised };
  };

  const stop = async () => {
    const stopping = server;
    if (stopping === undefined) return;
    server = undefined;
    const closed = closeServer(stopping);
    dropConnections();
    await closed;
    state.groups.resetMemberships();
  };

  return { listen, stop, dropConnections };
};
