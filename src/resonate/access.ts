import type { Dispatcher } from "undici";
import request from "undici/lib/api/api-request.js";
import buildConnector from "undici/lib/core/connect.js";
import Client from "undici/lib/dispatcher/client.js";
import { AccessError } from "../support/access-error.ts";
import { toError } from "../support/errors.ts";
import type { Secret } from "../support/secret.ts";
import { explainTls, readAuthorities } from "../support/tls.ts";

/** Where a Resonate server is, and what it takes to be let in. */
export interface Access {
  readonly url: string;
  /** Bearer token; empty for none. Read for each request. */
  readonly token: Secret;
  /** Path of a PEM file with the authority that signs the server's certificate; empty for Node's own. */
  readonly caPath: string;
}

const readCa = (path: string) => readAuthorities({ name: "RESONATE_CA_FILEPATH", path });

/** How often an idle connection is probed by TCP, in milliseconds. */
const KEEP_ALIVE_MS = 15_000;

/**
 * Opens connections to the server. The authority's file is read for each, so that it can be replaced while the process
 * runs.
 *
 * @throws {AccessError} when that file cannot be used
 */
export const createConnector = ({
  url,
  caPath,
}: Pick<Access, "url" | "caPath">): ReturnType<typeof buildConnector> => {
  if (!url.startsWith("https:")) return buildConnector({ keepAliveInitialDelay: KEEP_ALIVE_MS });
  readCa(caPath);
  return (options, callback) => {
    try {
      // A session that is taken up again would not be checked anew.
      const own = { ...readCa(caPath), maxCachedSessions: 0, keepAliveInitialDelay: KEEP_ALIVE_MS };
      buildConnector(own)(options, callback);
    } catch (error) {
      callback(toError(error), null);
    }
  };
};

/** The header with the token as it is now, if there is one. @throws {AccessError} when its file cannot be read */
export const authorize = (token: Secret): { authorization?: string } =>
  token.isEmpty ? {} : { authorization: `Bearer ${token.reveal()}` };

/** The refusal that a status means, if it does. */
export const findRefusedStatus = (url: string, status: number | undefined): AccessError | undefined => {
  if (status === 401)
    return new AccessError(`RESONATE_TOKEN: expected one that ${url} takes, got status 401`);
  if (status === 403) {
    return new AccessError(
      `RESONATE_TOKEN: expected one with the right to this group's executions at ${url}, got status 403`,
    );
  }
  return;
};

const TLS_NAMES = { address: "RESONATE_URL", ca: "RESONATE_CA_FILEPATH", enabled: "RESONATE_URL" };

/** A failed connection as the setting that is wrong, if one is; otherwise the error as it came. */
export const toAccessError = (error: unknown): unknown => {
  if (!(error instanceof Error) || !("code" in error) || typeof error.code !== "string") return error;
  const line = explainTls(error.code, TLS_NAMES);
  return line === undefined ? error : new AccessError(line);
};

/**
 * Sends one request to the server, with the token, over a connection of its own. Its answer may be silent for long.
 *
 * @throws {AccessError} when the server's certificate is not trusted
 */
export const requestAlone = async (
  access: Access,
  { headers, ...options }: Dispatcher.RequestOptions & { headers: Readonly<Record<string, string>> },
): Promise<Dispatcher.ResponseData> => {
  const connect = createConnector(access);
  const client = new Client(access.url, { connect, headersTimeout: 0, bodyTimeout: 0 });
  try {
    return await request.call(client, { ...options, headers: { ...headers, ...authorize(access.token) } });
  } catch (error) {
    throw toAccessError(error);
  } finally {
    // Once the answer has ended.
    void client.close();
  }
};
