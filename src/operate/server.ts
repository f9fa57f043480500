import type { Send } from "@resonatehq/sdk";
import { accessOf } from "../resonate/access-settings.ts";
import { createResonateLogger } from "../resonate/log.ts";
import { openTransport, ping } from "../resonate/open-transport.ts";
import type { Log } from "../support/log.ts";
import { placeOf } from "../support/postgres.ts";
import { serviceOf } from "../worker/execution.ts";
import type { AnyJob } from "../worker/job.ts";
import { type ReachOptions, untilReachable } from "../worker/reach.ts";
import type { Service } from "../worker/service.ts";
import type { WorkerSettings } from "../worker/settings.ts";

/** What the commands ask the Resonate server with, about one service. */
export interface Server extends AsyncDisposable {
  readonly service: Service;
  readonly send: Send;
}

interface ServerOptions extends Pick<ReachOptions, "log" | "signal"> {
  /** Where requests that fail are logged; `log` by default. Whoever asks gets the error as well. */
  readonly requestLog?: Log;
}

/**
 * Opens what a command needs that asks the Resonate server. Waits for the server, and says so, as a worker does.
 *
 * @throws the reason of `signal`; {AccessError} when the server refuses this client
 */
export const openServer = async (
  job: Pick<AnyJob, "name" | "version">,
  settings: WorkerSettings,
  { log, signal, requestLog = log }: ServerOptions,
): Promise<Server> => {
  const access = accessOf(settings);
  const server = { system: "Resonate server", address: placeOf(settings.RESONATE_URL), log, signal };
  await untilReachable(server, () => ping(access));
  const logger = createResonateLogger(requestLog);
  // It takes no messages.
  const transport = openTransport({ access, group: settings.RESONATE_GROUP, pid: "operator", logger });
  return {
    service: serviceOf(job, settings),
    send: transport.send,
    [Symbol.asyncDispose]: () => transport[Symbol.asyncDispose](),
  };
};
