import { Agent, request } from "node:http";
import { text } from "node:stream/consumers";

/** Connections of a proxy to its server: enough for requests that are answered at once. */
const MAX_CONNECTIONS = 16;

/** Longer than a worker waits for an answer, in milliseconds. */
const TIMEOUT_MS = 15_000;

/** What a server answered. */
export interface Answer {
  readonly status: number;
  readonly body: string;
}

/** Passes a proxy's requests on to its server. */
export interface PostOnward extends Disposable {
  /** Rejects when no answer comes within TIMEOUT_MS: the request would keep its connection from all others. */
  (body: string): Promise<Answer>;
}

/**
 * Passes requests on to the server at `url`, over connections that are few and kept. A burst that opened one for each
 * request would have them wait to be accepted, as a server in Node accepts one in each turn of its event loop, and a
 * heartbeat would wait behind all of them. Not by `fetch`, which takes twice the time.
 */
export const createPostOnward = (url: string): PostOnward => {
  const agent = new Agent({ keepAlive: true, maxSockets: MAX_CONNECTIONS, timeout: TIMEOUT_MS });
  const headers = { "content-type": "application/json" };
  const post = (body: string) => {
    const { promise, resolve, reject } = Promise.withResolvers<Answer>();
    const onward = request(url, { method: "POST", agent, headers }, (answer) => {
      const status = answer.statusCode ?? 502;
      text(answer).then((own) => resolve({ status, body: own }), reject);
    });
    onward.on("timeout", () => onward.destroy(new Error(`no answer within ${TIMEOUT_MS} ms`)));
    onward.on("error", reject).end(body);
    return promise;
  };
  return Object.assign(post, { [Symbol.dispose]: () => agent.destroy() });
};
