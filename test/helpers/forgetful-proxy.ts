import { connect, createServer } from "node:net";
import { createListener } from "../../src/stack/listener.ts";

/** A load balancer that forgets connections that are idle, and resets them only when something comes over them. */
export interface ForgetfulProxy extends AsyncDisposable {
  readonly url: string;
  /** How many requests met a connection that was forgotten. */
  readonly resets: number;
}

/** Starts it on a free port before the server at `target`; it forgets after `idleMs` milliseconds. */
export const startForgetfulProxy = async (target: string, idleMs: number): Promise<ForgetfulProxy> => {
  const { hostname, port: onwardPort } = new URL(target);
  let resets = 0;
  const server = createServer({ noDelay: true }, (client) => {
    const onward = connect({ host: hostname, port: Number(onwardPort), noDelay: true });
    let isStream = false;
    /** When the last answer passed: from then on it is idle, until the next request. */
    let idleSince = Number.POSITIVE_INFINITY;
    client.on("data", (chunk: Buffer) => {
      isStream ||= chunk.subarray(0, 4).toString() === "GET ";
      if (!isStream && performance.now() - idleSince > idleMs) {
        resets += 1;
        client.resetAndDestroy();
        return;
      }
      idleSince = Number.POSITIVE_INFINITY;
      onward.write(chunk);
    });
    onward.on("data", (chunk: Buffer) => {
      idleSince = performance.now();
      client.write(chunk);
    });
    for (const [from, to] of [
      [client, onward],
      [onward, client],
    ] as const) {
      from.on("error", () => {});
      from.on("close", () => to.destroy());
    }
  });
  const listener = createListener(server);
  const host = "127.0.0.1";
  const port = await listener.open({ port: 0, host });
  return {
    url: `http://${host}:${port}`,
    get resets() {
      return resets;
    },
    [Symbol.asyncDispose]: listener.close,
  };
};
