import { randomUUID } from "node:crypto";
import { HttpNetwork, isSuccess, PollMessageSource } from "@resonatehq/sdk";
import { createHttpSend } from "../src/resonate/http-send.ts";
import { createResonateLogger } from "../src/resonate/log.ts";
import { silentLog } from "../src/support/log.ts";
import { Secret } from "../src/support/secret.ts";

/** Sends `count` requests, `concurrency` at once; resolves with the times of the answers, in milliseconds. */
export type BareLoop = (count: number, concurrency: number) => Promise<number[]>;

/**
 * The yardstick of what a server and an HTTP client allow: nothing but `task.create`, as `beginRun` sends it, through
 * the client of the SDK or, `lean`, that of the worker.
 */
export const createBareLoop = (url: string, { lean }: { lean: boolean }): BareLoop => {
  const adapter = new PollMessageSource({ url: `${url}/poll/bare/${process.pid}` });
  const logger = createResonateLogger({ ...silentLog, warn: console.error, error: console.error });
  const { send } = lean
    ? createHttpSend({ access: { url, token: new Secret(() => ""), caPath: "" }, logger })
    : new HttpNetwork({ url, adapter });

  const create = async (id: string) => {
    const head = () => ({ corrId: randomUUID(), version: "2026-04-01" });
    const call = {
      func: "workflow",
      args: [{ recordId: id, partition: 0, offset: "0", attempt: 0 }, 0],
      version: 1,
    };
    const response = await send({
      kind: "task.create",
      head: head(),
      data: {
        pid: String(process.pid),
        ttl: 60_000,
        action: {
          kind: "promise.create",
          head: head(),
          data: {
            id,
            timeoutAt: Date.now() + 86_400_000,
            param: { data: btoa(JSON.stringify(call)), headers: {} },
            tags: {
              "resonate:origin": id,
              "resonate:branch": id,
              "resonate:parent": id,
              "resonate:scope": "global",
              "resonate:target": adapter.anycast,
            },
          },
        },
      },
    });
    if (!isSuccess(response))
      throw new Error(`expected a task, got ${response.head.status}: ${response.data}`);
  };

  return async (count, concurrency) => {
    const run = randomUUID();
    const times: number[] = [];
    let next = 0;
    const sendInTurn = async () => {
      for (let i = next++; i < count; i = next++) {
        await create(`bare-${run}-${i}`);
        times.push(performance.now());
      }
    };
    await Promise.all(Array.from({ length: concurrency }, sendInTurn));
    return times;
  };
};
