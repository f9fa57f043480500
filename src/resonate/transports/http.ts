import { createEvents } from "../events.ts";
import { createHttpSend } from "../http-send.ts";
import { watchLiveness } from "../liveness.ts";
import type { Transport, TransportOptions } from "../transport.ts";

/** A Resonate server: requests by HTTP, messages as server-sent events. */
export const openHttp = ({ access, group, pid, logger }: TransportOptions): Transport => {
  const events = createEvents({ access, group, pid, logger });
  const http = createHttpSend({ access, logger });
  return {
    messages: events,
    send: http.send,
    watch: (send) => watchLiveness({ send, events, pid, logger }),
    [Symbol.asyncDispose]: async () => http[Symbol.dispose](),
  };
};
