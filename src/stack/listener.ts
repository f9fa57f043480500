import { once } from "node:events";
import type { Server, Socket } from "node:net";

/** A server's port and connections, which can be cut. */
export interface Listener {
  readonly listening: boolean;
  /** Listens on `host`; port 0 is a free one. Resolves with the port, rejects with the error, such as EADDRINUSE. */
  open(address: { port: number; host: string }): Promise<number>;
  /** Cuts every connection and goes on listening. Returns how many there were. */
  drop(): number;
  /** Stops listening and cuts every connection, as a server that is down, until it is opened again. */
  close(): Promise<void>;
}

/** Takes over listening and connections of `server`, be it of HTTP or plain TCP. */
export const createListener = (server: Server): Listener => {
  const sockets = new Set<Socket>();
  server.on("connection", (socket) => {
    sockets.add(socket);
    socket.once("close", () => sockets.delete(socket));
  });
  const drop = () => {
    const { size } = sockets;
    for (const socket of sockets) socket.destroy();
    return size;
  };
  return {
    get listening() {
      return server.listening;
    },
    open: async ({ port, host }) => {
      await once(server.listen(port, host), "listening");
      const address = server.address();
      if (address === null || typeof address === "string")
        throw new Error(`expected a TCP address, got ${address}`);
      return address.port;
    },
    drop,
    close: async () => {
      if (!server.listening) return;
      const closed = once(server, "close");
      server.close();
      drop();
      await closed;
    },
  };
};
