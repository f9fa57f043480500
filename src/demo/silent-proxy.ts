import { connect, createServer, type Socket } from "node:net";
import { createListener } from "../stack/listener.ts";

/** Changes what passes, chunk by chunk. */
export type Change = (chunk: Buffer) => Buffer;

/** Stands before a server and can fall silent, as a host or a network that is lost does. */
export interface SilentProxy extends AsyncDisposable {
  readonly host: string;
  readonly port: number;
  /** Bytes that were lost in a silence. */
  readonly lost: number;
  /** From here on nothing passes either way, and nothing is closed: new connections are accepted, and not answered. */
  fallSilent(): void;
  /** Cuts what was silent; new connections pass again. */
  recover(): void;
}

/** A proxy on a free port of 127.0.0.1 before `target`; `change` makes one for the answers of each connection. */
export const startSilentProxy = async (
  target: { host: string; port: number },
  change: () => Change = () => (chunk) => chunk,
): Promise<SilentProxy> => {
  let isSilent = false;
  let lost = 0;
  const links = new Set<Socket>();
  const join = (from: Socket, to: Socket, own: Change) => {
    links.add(from);
    from.on("data", (chunk: Buffer) => {
      if (isSilent) lost += chunk.length;
      else to.write(own(chunk));
    });
    from.on("error", () => {});
    from.on("close", () => {
      links.delete(from);
      if (!isSilent) to.destroy();
    });
  };
  const server = createServer({ noDelay: true }, (client) => {
    const onward = connect({ ...target, noDelay: true });
    join(client, onward, (chunk) => chunk);
    join(onward, client, change());
  });
  const listener = createListener(server);
  const host = "127.0.0.1";
  const port = await listener.open({ port: 0, host });
  const cut = () => {
    for (const socket of links) socket.destroy();
  };
  return {
    host,
    port,
    get lost() {
      return lost;
    },
    fallSilent: () => {
      isSilent = true;
    },
    recover: () => {
      cut();
      isSilent = false;
    },
    [Symbol.asyncDispose]: async () => {
      cut();
      await listener.close();
    },
  };
};

/** The same before a Resonate server or a database, whose address is a URL. */
export const startSilentUrlProxy = async (
  url: string,
  change?: () => Change,
): Promise<SilentProxy & { readonly url: string }> => {
  const own = new URL(url);
  const proxy = await startSilentProxy({ host: own.hostname, port: Number(own.port) }, change);
  own.host = `${proxy.host}:${proxy.port}`;
  return Object.assign(proxy, { url: own.href.replace(/\/$/, "") });
};
