import type { TestContext } from "node:test";
import { LocalNetwork, type Logger, type Request, Resonate, type Response, type Send } from "@resonatehq/sdk";
import type { Access } from "../../src/resonate/access.ts";
import { createResonateLogger } from "../../src/resonate/log.ts";
import { silentLog } from "../../src/support/log.ts";
import { Secret } from "../../src/support/secret.ts";

/** How to reach a server that asks for `token`, or for none. */
export const accessTo = (url: string, token = ""): Access => ({
  url,
  token: new Secret(() => token),
  caPath: "",
});

export const silent: Logger = createResonateLogger(silentLog);

/** How often timers are looked at; the network's own clock ticks once a second. */
const TICK_MS = 5;

/** An SDK, and what leads to the server that it has in this process's memory, for one test. */
interface LocalResonate {
  readonly resonate: Resonate;
  readonly send: Send;
}

/** Starts one. `onAnswer` is told of what it is asked. */
export const startLocalResonate = (
  t: TestContext,
  group = "default",
  onAnswer: (request: Request, response: Response) => void = () => {},
): LocalResonate => {
  const network = new LocalNetwork({ group });
  const { send } = network;
  network.send = async (request) => {
    const response = await send(request);
    if (request.kind !== "debug.tick") onAnswer(request, response);
    return response;
  };
  const resonate = new Resonate({ network, logger: silent });
  const clock = setInterval(() => {
    const head = { corrId: "", version: "" };
    void network.send({ kind: "debug.tick", head, data: { time: Date.now() } });
  }, TICK_MS);
  t.after(async () => {
    clearInterval(clock);
    await resonate.stop();
  });
  return { resonate, send: (request) => send(request) };
};
