import { once } from "node:events";
import { connect, createServer, type Socket } from "node:net";
import type { Request } from "@resonatehq/sdk";
import type { ResonateProxy } from "./resonate-proxy.ts";

/** A message of Postgres' protocol: a letter, its length, its content. That which opens a connection has no letter. */
interface Message {
  readonly letter: string;
  readonly bytes: Buffer;
  readonly content: Buffer;
}

/** Splits what comes over a connection into messages. */
const createReader = (isClient: boolean) => {
  let rest = Buffer.alloc(0);
  let isFirst = isClient;
  return (data: Buffer): Message[] => {
    rest = Buffer.concat([rest, data]);
    const messages: Message[] = [];
    for (;;) {
      const at = isFirst ? 0 : 1;
      if (rest.length < at + 4) return messages;
      const end = at + rest.readInt32BE(at);
      if (rest.length < end) return messages;
      const letter = isFirst ? "" : rest.toString("latin1", 0, 1);
      messages.push({ letter, bytes: rest.subarray(0, end), content: rest.subarray(at + 4, end) });
      rest = rest.subarray(end);
      isFirst = false;
    }
  };
};

/** The values of a row, or the parameters of a statement: each with its length before it. */
const readValues = (content: Buffer, from: number): string[] => {
  const values: string[] = [];
  let at = from + 2;
  for (let left = content.readInt16BE(from); left > 0; left--) {
    const length = Math.max(0, content.readInt32BE(at));
    values.push(content.toString("utf8", at + 4, at + 4 + length));
    at += 4 + length;
  }
  return values;
};

/** The requests that a worker binds to its statement for them (postgres-send.ts). */
const readRequests = ({ letter, content }: Message): Request[] => {
  if (letter !== "B") return [];
  const portalEnd = content.indexOf(0);
  const nameEnd = content.indexOf(0, portalEnd + 1);
  if (content.toString("utf8", portalEnd + 1, nameEnd) !== "rpc") return [];
  const formats = content.readInt16BE(nameEnd + 1);
  const [requests = "[]"] = readValues(content, nameEnd + 3 + 2 * formats);
  return JSON.parse(requests);
};

/** Stands between workers and a database with executions: sees the requests in their statements, and can cut them. */
export const startPostgresProxy = async (
  target: string,
  host = "127.0.0.1",
): Promise<ResonateProxy & AsyncDisposable> => {
  const { hostname, port: targetPort } = new URL(target);
  const clients = new Set<Socket>();

  const serve = (client: Socket) => {
    const server = connect({
      host: hostname,
      port: Number(targetPort || 5432),
      noDelay: true,
      allowHalfOpen: true,
    });
    clients.add(client);
    client.on("close", () => clients.delete(client));
    /** Statements whose answers are under way, in their order. */
    const asked: Request[][] = [];
    const statement: Message[] = [];
    const answer: Message[] = [];
    let isLoggedIn = false;
    const forward = async () => {
      const bytes = Buffer.concat(statement.map((message) => message.bytes));
      const requests = statement.flatMap(readRequests);
      statement.length = 0;
      for (const request of requests) await proxy.onRequest(request);
      if (isLoggedIn) asked.push(requests);
      server.write(bytes);
    };
    const giveBack = async () => {
      const bytes = Buffer.concat(answer.map((message) => message.bytes));
      const rows = answer.filter(({ letter }) => letter === "D").map(({ content }) => readValues(content, 0));
      answer.length = 0;
      const requests = asked.shift() ?? [];
      for (const [at, text = "{}"] of requests.length > 0 ? rows : []) {
        const request = requests[Number(at) - 1];
        if (request) await proxy.onAnswer(request, JSON.parse(text).head.status);
      }
      client.write(bytes);
    };
    const pipe = (from: Socket, to: Socket, take: (message: Message) => Promise<void> | void) => {
      const read = createReader(from === client);
      let before = Promise.resolve();
      from.on("error", () => {});
      // What has come before the end is passed on, though it may be held: a worker dies, its request does not.
      const end = () => void before.then(() => to.end());
      from.on("end", end);
      from.on("close", end);
      from.on("data", (data: Buffer) => {
        before = before
          .then(async () => {
            for (const message of read(data)) await take(message);
          })
          .catch(() => void from.destroy());
      });
    };
    pipe(client, server, (message) => {
      statement.push(message);
      // Sync ends a statement; what opens and closes a connection stands alone.
      return ["S", "Q", "X", "p", ""].includes(message.letter) ? forward() : undefined;
    });
    pipe(server, client, async (message) => {
      answer.push(message);
      const isReady = message.letter === "Z";
      if (isReady || !isLoggedIn) await giveBack();
      isLoggedIn ||= isReady;
    });
  };

  const server = createServer({ noDelay: true, allowHalfOpen: true }, serve);
  const listen = async (port: number) => {
    server.listen(port, host);
    await once(server, "listening");
    const address = server.address();
    if (address === null || typeof address === "string") throw new Error("expected a port");
    return address.port;
  };
  const cut = () => {
    const { size } = clients;
    for (const client of clients) client.destroy();
    return size;
  };
  const close = async () => {
    if (!server.listening) return;
    server.close();
    cut();
    await once(server, "close");
  };
  const port = await listen(0);
  const url = new URL(target);
  url.hostname = host;
  url.port = String(port);
  const proxy: ResonateProxy & AsyncDisposable = {
    url: url.href,
    onRequest: () => {},
    onAnswer: () => {},
    cut,
    close,
    open: async () => {
      await listen(port);
    },
    [Symbol.asyncDispose]: close,
  };
  return proxy;
};
