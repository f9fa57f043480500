import { Agent as HttpAgent } from "node:http";
import { Agent as HttpsAgent } from "node:https";
import { AccessError } from "../support/access-error.ts";
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

type CreateConnection = HttpsAgent["createConnection"];

/** Reads the authority's file at each new connection, so that it can be replaced while the process runs. */
class TrustingAgent extends HttpsAgent {
  readonly #path: string;
  constructor(path: string, options: ConstructorParameters<typeof HttpsAgent>[0]) {
    // A session that is taken up again would not be checked anew.
    super({ ...options, maxCachedSessions: 0 });
    this.#path = path;
  }
  override createConnection(
    ...[options, callback]: Parameters<CreateConnection>
  ): ReturnType<CreateConnection> {
    return super.createConnection({ ...options, ...readCa(this.#path) }, callback);
  }
}

/** An agent for requests to the server. @throws {AccessError} when the authority's file cannot be used */
export const createAgent = (
  { url, caPath }: Pick<Access, "url" | "caPath">,
  options: ConstructorParameters<typeof HttpAgent>[0],
): HttpAgent => {
  if (!url.startsWith("https:")) return new HttpAgent(options);
  readCa(caPath);
  return new TrustingAgent(caPath, options);
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
