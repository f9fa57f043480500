import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { describe } from "../support/errors.ts";
import { SettingsError } from "../support/settings.ts";

/** Further connections are closed at once: scrapes and probes come one at a time. */
const MAX_CONNECTIONS = 16;
/** For a request to arrive, and for an idle connection, in milliseconds. */
const TIMEOUT_MS = 5000;
const MAX_HEADER_BYTES = 8 * 1024;

export interface Answer {
  readonly status: number;
  readonly contentType: string;
  readonly body: string;
}

/** What is answered, by path. */
export type Routes = Readonly<Record<string, () => Answer | Promise<Answer>>>;

export interface HttpServer extends AsyncDisposable {
  readonly url: string;
}

const text = (status: number, body: string): Answer => ({
  status,
  contentType: "text/plain",
  body: `${body}\n`,
});

const answer = async (routes: Routes, { method, url = "" }: IncomingMessage): Promise<Answer> => {
  if (method !== "GET") return text(405, "expected GET");
  const path = url.split("?", 1)[0] ?? "";
  const route = Object.hasOwn(routes, path) ? routes[path] : undefined;
  if (route === undefined) return text(404, `expected one of ${Object.keys(routes).join(", ")}`);
  try {
    return await route();
  } catch (error) {
    return text(500, describe(error));
  }
};

const respond = async (routes: Routes, request: IncomingMessage, response: ServerResponse) => {
  const { status, contentType, body } = await answer(routes, request);
  // What a request has beside its head is not read.
  const headers = { "content-type": contentType, connection: "close", "cache-control": "no-store" };
  response.writeHead(status, status === 405 ? { ...headers, allow: "GET" } : headers).end(body);
};

/**
 * Answers GET requests. However many there are and whatever they hold, they take a small share of the process: few
 * connections, one request each, within a short time.
 *
 * @param port 0 is a free one
 * @throws {SettingsError} when it cannot listen there
 */
export const listenHttp = async (
  { host, port }: { host: string; port: number },
  routes: Routes,
): Promise<HttpServer> => {
  const server = createServer(
    {
      maxHeaderSize: MAX_HEADER_BYTES,
      headersTimeout: TIMEOUT_MS,
      requestTimeout: TIMEOUT_MS,
      connectionsCheckingInterval: 1000,
    },
    (request, response) => void respond(routes, request, response),
  );
  server.maxConnections = MAX_CONNECTIONS;
  server.timeout = TIMEOUT_MS;

  const listening = Promise.withResolvers<void>();
  server.once("error", listening.reject);
  server.listen({ port, host }, listening.resolve);
  try {
    await listening.promise;
  } catch (error) {
    const isTaken = error instanceof Error && "code" in error && error.code === "EADDRINUSE";
    const got = isTaken ? `port ${port}, which is in use` : describe(error);
    throw new SettingsError([`HTTP_PORT: expected a free port at ${host}, got ${got}`]);
  }
  // An accept that fails, for want of file descriptors for instance, must not end the worker.
  server.on("error", () => {});

  const address = server.address();
  const own = typeof address === "object" && address !== null ? address.port : port;
  return {
    url: `http://${host.includes(":") ? `[${host}]` : host}:${own}`,
    [Symbol.asyncDispose]: async () => {
      const closed = Promise.withResolvers<void>();
      server.close(() => closed.resolve());
      server.closeAllConnections();
      await closed.promise;
    },
  };
};
