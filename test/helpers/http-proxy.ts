import { createServer, request as httpRequest, type IncomingMessage, type ServerResponse } from "node:http";
import { text } from "node:stream/consumers";
import { type Answer, createPostOnward } from "../../src/demo/post-onward.ts";
import { createListener } from "../../src/stack/listener.ts";

/** Stands before a Resonate server for one worker, to change what it is answered and what it hears. */
export interface HttpProxy extends AsyncDisposable {
  readonly url: string;
  /** Answers a request, given as its body; `forward` asks the server. Replace it. */
  answer: (body: string, forward: () => Promise<Answer>) => Promise<Answer>;
  /** Answers a poll for events; `open` passes them on. Replace it. */
  poll: (response: ServerResponse, open: () => void) => void;
  /** Streams that are open, oldest first: the worker's half and the server's. */
  readonly streams: readonly Stream[];
}

/** An open stream of events. */
export interface Stream {
  readonly worker: ServerResponse;
  readonly server: IncomingMessage;
}

/** Starts it on a free port before the server at `target`. */
export const startHttpProxy = async (target: string): Promise<HttpProxy> => {
  const post = createPostOnward(target);
  let streams: Stream[] = [];

  const exchange = async (incoming: IncomingMessage, response: ServerResponse) => {
    const body = await text(incoming);
    const answer = await proxy.answer(body, () => post(body));
    response.writeHead(answer.status, { "content-type": "application/json" }).end(answer.body);
  };
  const passOn = (incoming: IncomingMessage, worker: ServerResponse) => {
    const onward = httpRequest(`${target}${incoming.url}`, { agent: false }, (server) => {
      const stream = { worker, server };
      streams.push(stream);
      worker.writeHead(server.statusCode ?? 502, server.headers);
      worker.flushHeaders();
      server.on("error", () => worker.destroy()).pipe(worker);
      worker.on("close", () => {
        streams = streams.filter((own) => own !== stream);
        server.destroy();
      });
    });
    onward.on("error", () => worker.destroy());
    onward.end();
  };
  const server = createServer((incoming, response) => {
    if (incoming.method === "POST") exchange(incoming, response).catch(() => response.destroy());
    else if (incoming.url?.startsWith("/poll/")) proxy.poll(response, () => passOn(incoming, response));
    else response.end("ok");
  });
  const listener = createListener(server);
  const host = "127.0.0.1";
  const port = await listener.open({ port: 0, host });
  const proxy: HttpProxy = {
    url: `http://${host}:${port}`,
    answer: (_, onward) => onward(),
    poll: (_, open) => open(),
    get streams() {
      return streams;
    },
    [Symbol.asyncDispose]: async () => {
      post[Symbol.dispose]();
      await listener.close();
    },
  };
  return proxy;
};
