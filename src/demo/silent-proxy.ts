import { connect, createServer, type Socket } from "node:net";
import { createListener } from "../stack/listener.ts";

/** Stands between a worker and a server, and can go silent: nothing passes either way, and nothing is closed. */
export interface SilentProxy extends AsyncDisposable {
  readonly url: string;
  /** What a lost host looks like from both ends. */
  silence(): void;
  /** Cuts what went silent, and lets new connections pass again. */
  recover(): void;
}

/** Starts a proxy on a free port of the loopback, before the server at the URL `target`. */
export const startSilentProxy = async (target: string): Promise<SilentProxy> => {
  const { hostname, port } = new URL(target);
  let isSilent = false;
  const sockets = new Set<Socket>();
  const keep = (socket: Socket, other: Socket) => {
    sockets.add(socket);
    // A silent end tells the other one nothing, not even that it is gone.
    socket.on("error", () => {});
    socket.on("close", () => {
      sockets.delete(socket);
      if (!isSilent) other.destroy();
    });
    socket.on("data", (bytes) => {
      if (!isSilent) other.write(bytes);
    });
  };
  const listener = createListener(
    createServer((client) => {
      const server = connect({ host: hostname, port: Number(port) });
      keep(client, server);
      keep(server, client);
    }),
  );
  const cut = () => {
    for (const socket of sockets) socket.destroy();
  };
  const own = await listener.open({ port: 0, host: "127.0.0.1" });
  return {
    url: `http://127.0.0.1:${own}`,
    silence: () => {
      isSilent = true;
    },
    recover: () => {
      isSilent = false;
      cut();
    },
    [Symbol.asyncDispose]: async () => {
      cut();
      await listener.close();
    },
  };
};
