import { type Broker, createBroker } from "./broker/broker.ts";
import { createResonateServer, type ResonateServer, type ResonateServerOptions } from "./resonate-server.ts";

/** The development stack: what Redpanda and the Resonate server are in production, in memory and in this process. */
export interface Stack extends AsyncDisposable {
  readonly broker: Broker;
  readonly server: ResonateServer;
  /** `host:port`, as in KAFKA_BROKERS. */
  readonly kafkaBrokers: string;
  /** As in RESONATE_URL. */
  readonly resonateUrl: string;
}

/** A port is taken. Another stack, or the real thing, may be running; a retry helps once that one is gone. */
class PortInUseError extends Error {
  readonly code = "PORT_IN_USE";
  readonly canRetry = true;
  override name = "PortInUseError";
}

const listen = async (what: string, port: number, start: () => Promise<{ host: string; port: number }>) => {
  try {
    return await start();
  } catch (error) {
    if (!(error instanceof Error && "code" in error && error.code === "EADDRINUSE")) throw error;
    throw new PortInUseError(`${what}: expected port ${port} to be free, got one in use`, { cause: error });
  }
};

/**
 * Starts broker and server on loopback, unless told otherwise; port 0 is a free one.
 *
 * @throws {PortInUseError}
 */
export const startStack = async (
  {
    kafkaPort,
    resonatePort,
    host = "127.0.0.1",
  }: { kafkaPort: number; resonatePort: number; host?: string | undefined },
  serverOptions: ResonateServerOptions = {},
): Promise<Stack> => {
  await using opened = new AsyncDisposableStack();
  const broker = createBroker();
  opened.defer(() => broker.stop());
  const server = opened.use(createResonateServer(serverOptions));
  const kafka = await listen("Kafka broker", kafkaPort, () => broker.listen({ port: kafkaPort, host }));
  const resonate = await listen("Resonate server", resonatePort, () =>
    server.listen({ port: resonatePort, host }),
  );
  const resources = opened.move();
  return {
    broker,
    server,
    kafkaBrokers: `${kafka.host}:${kafka.port}`,
    resonateUrl: `http://${resonate.host}:${resonate.port}`,
    [Symbol.asyncDispose]: () => resources.disposeAsync(),
  };
};
