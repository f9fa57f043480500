import { isPostgres, POSTGRES_URL, parsePostgres } from "../support/postgres.ts";
import { secret } from "../support/secret.ts";
import { type Env, httpUrl, type Setting, type Settings } from "../support/settings.ts";
import type { Access } from "./access.ts";

const server = httpUrl("http://localhost:8001", "");
const url: Setting<string> = {
  fallback: server.fallback,
  expected: `${server.expected}, or ${POSTGRES_URL}`,
  about:
    "The Resonate server, or a database of Postgres with the schema of resonatehq/resonate-pg: postgres://user:password@host:5432/name.",
  parse: (text) => (isPostgres(text) ? parsePostgres(text) : server.parse(text)),
};

const token = secret({
  expected: "a bearer token without white space",
  pattern: /^\S+$/,
  about:
    "Bearer token for the Resonate server; empty for none. RESONATE_TOKEN_FILE: the path of a file that holds it.",
});

const caPath: Setting<string> = {
  fallback: "",
  expected: "the path of a file",
  about: "PEM file with the authority that signs the Resonate server's certificate; empty for Node's own.",
  parse: (text) => (/[\0\r\n]/.test(text) ? undefined : text),
};

/** Where the executions are kept, and what it takes to be let in, in the order of `.env.example`. */
export const accessSchema = {
  RESONATE_URL: url,
  RESONATE_TOKEN: token,
  RESONATE_CA_FILEPATH: caPath,
};

/** What must hold between these settings. */
export const checkAccess = ({ RESONATE_URL = "", RESONATE_CA_FILEPATH = "", ...values }: Env): string[] => {
  const token = values.RESONATE_TOKEN || values.RESONATE_TOKEN_FILE;
  return [
    ...(RESONATE_CA_FILEPATH === "" || RESONATE_URL.startsWith("https:")
      ? []
      : ["RESONATE_CA_FILEPATH: expected a value only with an https:// RESONATE_URL, got one"]),
    ...(token && isPostgres(RESONATE_URL)
      ? ["RESONATE_TOKEN: expected none with a postgres:// RESONATE_URL, got one"]
      : []),
  ];
};

/** The access that the settings give. */
export const accessOf = (settings: Settings<typeof accessSchema>): Access => ({
  url: settings.RESONATE_URL,
  token: settings.RESONATE_TOKEN,
  caPath: settings.RESONATE_CA_FILEPATH,
});
