import { randomUUID } from "node:crypto";
import { HttpNetwork, isSuccess, PollMessageSource } from "@resonatehq/sdk";

/** Sends `count` requests, `concurrency` at once; resolves with the times of the answers, in milliseconds. */
export type BareLoop = (count: number, concurrency: number) => Promise<number[]>;

/** The yardstick of what a server and the SDK's HTTP client allow: nothing but `task.create`, as `beginRun` sends it. */
export const createBareLoop = (url: string): BareLoop => {
  const adapter = new PollMessageSource({ url: `${url}/poll/bare/${process.pid}` });
  const http = new HttpNetwork({ url, adapter });

  const create = async (id: string) => {
    const head = () => ({ corrId: randomUUID(), version: "2026-04-01" });
    const call = {
      func: "workflow",
      args: [{ recordId: id, partition: 0, offset: "0", attempt: 0 }, 0],
      version: 1,
    };
    const response = await http.send({
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
              "resonate:target": http.anycast,
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
