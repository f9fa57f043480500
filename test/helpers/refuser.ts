import { createServer, request as httpRequest, type IncomingMessage, type ServerResponse } from "node:http";
import { text } from "node:stream/consumers";
import { isRequest, type Request } from "@resonatehq/sdk";
import { createListener } from "../../src/stack/listener.ts";

/** What is refused, and how: with a status, in the protocol or in words of a proxy's own. */
export interface Refusal {
  readonly status: number;
  readonly words: string;
  readonly isProtocol: boolean;
}

/** Stands between workers and a Resonate server, and refuses requests in its place. */
export interface Refuser {
  readonly url: string;
  /** Says which requests are refused; replace it. */
  refuse: (request: Request) => Refusal | undefined;
  /** Requests that were refused, in order. */
  readonly refused: readonly Request[];
}

/** Starts one on a free port before the server at `target`. */
export const startRefuser = async (target: string): Promise<Refuser & AsyncDisposable> => {
  const refused: Request[] = [];
  const forward = ({ url, method, headers }: IncomingMessage, response: ServerResponse, body?: string) => {
    const onward = httpRequest(`${target}${url}`, { method, headers }, (answer) => {
      response.writeHead(answer.statusCode ?? 502, answer.headers).flushHeaders();
      answer.on("error", () => response.destroy()).pipe(response);
    });
    onward.on("error", () => response.destroy());
    response.on("close", () => onward.destroy());
    onward.end(body);
  };
  const exchange = async (incoming: IncomingMessage, response: ServerResponse) => {
    const body = await text(incoming);
    const request: unknown = JSON.parse(body);
    if (!isRequest(request)) throw new Error(`expected a request, got ${body.slice(0, 200)}`);
    const refusal = refuser.refuse(request);
    if (refusal === undefined) return forward(incoming, response, body);
    refused.push(request);
    const { status, words, isProtocol } = refusal;
    const { kind, head } = request;
    const answer = JSON.stringify({ kind, head: { ...head, status }, data: words });
    response
      .writeHead(status, { "content-type": isProtocol ? "application/json" : "text/html" })
      .end(isProtocol ? answer : `<h1>${words}</h1>`);
  };
  const listener = createListener(
    createServer((incoming, response) => {
      if (incoming.method === "POST") exchange(incoming, response).catch(() => response.destroy());
      else forward(incoming, response);
    }),
  );
  const host = "127.0.0.1";
  const port = await listener.open({ port: 0, host });
  const refuser: Refuser & AsyncDisposable = {
    url: `http://${host}:${port}`,
    refuse: () => undefined,
    refused,
    [Symbol.asyncDispose]: listener.close,
  };
  return refuser;
};
