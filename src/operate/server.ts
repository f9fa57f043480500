import type { Send } from "@resonatehq/sdk";
import { createHttpSend } from "../resonate/http-send.ts";
import { createResonateLogger } from "../resonate/log.ts";
import { ping } from "../resonate/ping.ts";
import { executionName } from "../worker/execution.ts";
import type { AnyJob } from "../worker/job.ts";
import { type ReachOptions, untilReachable } from "../worker/reach.ts";
import type { Service } from "../worker/service.ts";
import { accessOf, type WorkerSettings } from "../worker/settings.ts";

/** What the commands ask the Resonate server with, about one service. */
export interface Server extends Disposable {
  readonly service: Service;
  readonly send: Send;
}

/**
 * Opens what a command needs that asks the Resonate server. Waits for the server, and says so, as a worker does.
 *
 * @throws the reason of `signal`; {AccessError} when the server refuses this client
 */
export const openServer = async (
  job: Pick<AnyJob, "name" | "version">,
  settings: WorkerSettings,
  { log, signal }: Pick<ReachOptions, "log" | "signal">,
): Promise<Server> => {
  const access = accessOf(settings);
  const server = { system: "Resonate server", address: settings.RESONATE_URL, log, signal };
  await untilReachable(server, () => ping(access));
  const http = createHttpSend({ access, logger: createResonateLogger(log) });
  return {
    service: {
      name: executionName(job.name, settings.TOPIC_SOURCE),
      group: settings.RESONATE_GROUP,
      version: job.version ?? 1,
    },
    send: http.send,
    [Symbol.dispose]: () => http[Symbol.dispose](),
  };
};
