import { isPostgres } from "../support/postgres.ts";
import type { Access } from "./access.ts";
import { ping as pingHttp } from "./ping.ts";
import type { Transport, TransportOptions } from "./transport.ts";
import { pingPostgres } from "./transports/database.ts";
import { openHttp } from "./transports/http.ts";
import { openPostgres } from "./transports/postgres.ts";

/** Opens the transport that the URL's scheme asks for. The only place that knows which there are. */
export const openTransport = (options: TransportOptions): Transport =>
  isPostgres(options.access.url) ? openPostgres(options) : openHttp(options);

/**
 * Asks whether the place that `access` names is there, and lets this client in.
 *
 * @throws {AccessError} when it refuses this client, or is not made for it
 * @throws {SettingsError} when a package is missing
 * @throws when it cannot be reached
 */
export const ping = (access: Access): Promise<void> =>
  isPostgres(access.url) ? pingPostgres(access.url) : pingHttp(access);
