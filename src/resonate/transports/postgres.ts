import type { Transport, TransportOptions } from "../transport.ts";
import { openDatabase } from "./database.ts";
import { createPostgresMessages } from "./postgres-messages.ts";
import { createPostgresSend } from "./postgres-send.ts";

/** The executions in a database of Postgres, in the schema of resonatehq/resonate-pg, without a server between. */
export const openPostgres = ({ access, group, pid, logger }: TransportOptions): Transport => {
  const { query, close } = openDatabase(access.url);
  return {
    messages: createPostgresMessages({ query, group, pid, logger }),
    send: createPostgresSend({ query, logger }),
    [Symbol.asyncDispose]: close,
  };
};
