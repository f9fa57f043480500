import type { Transport, TransportOptions } from "../transport.ts";
import { openDatabase } from "./database.ts";
import { createPostgresMessages } from "./postgres-messages.ts";
import { createPostgresSend } from "./postgres-send.ts";

/** The executions in a database of Postgres, in the schema of resonatehq/resonate-pg, without a server between. */
export const openPostgres = ({ access, ...options }: TransportOptions): Transport => {
  const { query, close } = openDatabase(access.url);
  const send = createPostgresSend({ query, logger: options.logger });
  let askedAt = 0;
  return {
    messages: createPostgresMessages({ ...options, query, askedAt: () => askedAt }),
    send: (request) => {
      if (request.kind.startsWith("task.")) askedAt = performance.now();
      return send(request);
    },
    [Symbol.asyncDispose]: close,
  };
};
