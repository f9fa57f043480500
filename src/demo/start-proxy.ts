import { isPostgres } from "../support/postgres.ts";
import { startPostgresProxy } from "./postgres-proxy.ts";
import { type ResonateProxy, startResonateProxy } from "./resonate-proxy.ts";

/** Starts a proxy on a free port of `host` before a Resonate server, or before a database with executions. */
export const startProxy = (url: string, host?: string): Promise<ResonateProxy & AsyncDisposable> =>
  isPostgres(url) ? startPostgresProxy(url, host) : startResonateProxy(url, host);
