import { createServer, request as httpRequest, type IncomingMessage, type ServerResponse } from "node:http";
import { text } from "node:stream/consumers";
import { isRequest, type Request } from "@resonatehq/sdk";
import { createListener } from "../stack/listener.ts";
import { createPostOnward } from "./post-onward.ts";

/** Told of each request on its way to the server, which it reaches when the promise resolves. */
type OnRequest = (request: Request) => Promise<void> | void;
/** Told of each answer on its way back: the request and the HTTP status. */
type OnAnswer = (request: Request, status: number) => Promise<void> | void;

/** Stands between workers and a Resonate server, whichever it is, to see what passes and to cut it. */
export interface ResonateProxy {
  readonly url: string;
  /** Replace these to watch, to hold or to kill at a point of the protocol. */
  onRequest: OnRequest;
  onAnswer: OnAnswer;
  /** Cuts every connection; returns how many there were. */
  cut(): number;
  /** Refuses connections, as a server that is down, until `open`. */
  close(): Promise<void>;
  open(): Promise<void>;
}

/** Starts a proxy on a free port of `host` before the server at `target`. */
export const startResonateProxy = async (
  target: string,
  host = "127.0.0.1",
): Promise<ResonateProxy & AsyncDisposable> => {
  const post = createPostOnward(target);
  const forward = (incoming: IncomingMessage, response: ServerResponse, body?: string) => {
    const onward = httpRequest(
      `${target}${incoming.url}`,
      { method: incoming.method, headers: incoming.headers },
      (answer) => {
        response.writeHead(answer.statusCode ?? 502, answer.headers);
        answer.on("error", () => response.destroy()).pipe(response);
        response.flushHeaders();
      },
    );
    onward.on("error", () => response.destroy());
    response.on("close", () => onward.destroy());
    onward.end(body);
  };

  const exchange = async (incoming: IncomingMessage, response: ServerResponse) => {
    const body = await text(incoming);
    const request: unknown = JSON.parse(body);
    if (!isRequest(request))
      throw new Error(`expected a request of the Resonate protocol, got ${body.slice(0, 200)}`);
    await proxy.onRequest(request);
    const answer = await post(body);
    await proxy.onAnswer(request, answer.status);
    response.writeHead(answer.status, { "content-type": "application/json" }).end(answer.body);
  };

  const server = createServer((incoming, response) => {
    if (incoming.method === "POST") exchange(incoming, response).catch(() => response.destroy());
    else forward(incoming, response);
  });
  const listener = createListener(server);
  const port = await listener.open({ port: 0, host });
  const proxy: ResonateProxy & AsyncDisposable = {
    url: `http://${host}:${port}`,
    onRequest: () => {},
    onAnswer: () => {},
    cut: listener.drop,
    close: listener.close,
    open: async () => {
      await listener.open({ port, host });
    },
    [Symbol.asyncDispose]: async () => {
      post[Symbol.dispose]();
      await listener.close();
    },
  };
  return proxy;
};
