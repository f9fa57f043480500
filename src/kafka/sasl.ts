import { resolve } from "node:path";
import { pathToFileURL } from "node:url";
import kafkajs, { type AuthenticationProviderArgs, type Authenticator, type Mechanism } from "kafkajs";
import plain from "kafkajs/src/broker/saslAuthenticator/plain.js";
import scram256 from "kafkajs/src/broker/saslAuthenticator/scram256.js";
import scram512 from "kafkajs/src/broker/saslAuthenticator/scram512.js";
import { AccessError } from "../support/access-error.ts";
import { describe } from "../support/errors.ts";
import type { KafkaSecuritySettings } from "./security-settings.ts";

/** A bearer token as a provider gives it. */
interface BearerToken {
  readonly value: string;
  /** SASL extensions, for brokers that ask for some. */
  readonly extensions?: Readonly<Record<string, string>>;
}

/** Gives the token that is valid now: asked at each new connection, and before a session at the broker ends. */
type TokenProvider = () => Promise<BearerToken>;

const PROVIDER = "KAFKA_SASL_OAUTHBEARER_PROVIDER";

type Authenticate = (args: AuthenticationProviderArgs) => Authenticator;

const PASSWORD_MECHANISMS = { PLAIN: plain, "SCRAM-SHA-256": scram256, "SCRAM-SHA-512": scram512 };

/** Loads what a user's module exports as `createTokenProvider` and calls it. @throws {AccessError} */
const loadProvider = async (path: string): Promise<TokenProvider> => {
  const module: { createTokenProvider?: unknown } = await import(pathToFileURL(resolve(path)).href).catch(
    (error: unknown) => {
      throw new AccessError(`${PROVIDER}: expected a module at ${path}, got: ${describe(error)}`);
    },
  );
  const { createTokenProvider } = module;
  if (typeof createTokenProvider !== "function") {
    throw new AccessError(`${PROVIDER}: expected ${path} to export a function createTokenProvider, got none`);
  }
  return createTokenProvider();
};

/** SASL's messages are bytes with their length before them. */
const withLength = (text: string): Buffer => {
  const length = Buffer.alloc(4);
  length.writeInt32BE(Buffer.byteLength(text));
  return Buffer.concat([length, Buffer.from(text)]);
};

/**
 * OAUTHBEARER as RFC 7628 has it. In place of that of kafkajs 2.2.4, which takes the broker's answer to a bad token,
 * an error as JSON, for success.
 */
const bearer =
  (getProvider: () => Promise<TokenProvider>): Authenticate =>
  ({ saslAuthenticate }) => ({
    authenticate: async () => {
      const provider = await getProvider();
      const { value, extensions = {} } = await provider().catch((error: unknown) => {
        // To kafkajs an outage: whoever gives out tokens may be away.
        throw new kafkajs.KafkaJSConnectionError(`${PROVIDER}: expected a token, got: ${describe(error)}`);
      });
      const fields = Object.entries(extensions).map(([name, text]) => `${name}=${text}\u0001`);
      const message = `n,,\u0001auth=Bearer ${value}\u0001${fields.join("")}\u0001`;
      const refusal = await saslAuthenticate({
        request: { encode: () => withLength(message) },
        response: { decode: (bytes) => bytes, parse: (bytes) => bytes.subarray(4).toString("utf8") },
      });
      if (refusal) throw new Error(`SASL OAUTHBEARER authentication failed: ${refusal}`);
    },
  });

/**
 * Keeps what failed apart: kafkajs gives every failure of an authentication as a refusal, a connection that was lost
 * included, and would end a consumer for it.
 */
const tellApart =
  (authenticate: Authenticate, settings: string): Authenticate =>
  (args) => ({
    authenticate: async () => {
      let failure: unknown;
      const saslAuthenticate: typeof args.saslAuthenticate = (request) =>
        args.saslAuthenticate(request).catch((error: unknown) => {
          failure = error;
          throw error;
        });
      try {
        await authenticate({ ...args, saslAuthenticate }).authenticate();
      } catch (error) {
        const cause = failure ?? error;
        if (cause instanceof AccessError || (cause instanceof kafkajs.KafkaJSError && cause.retriable))
          throw cause;
        throw new AccessError(
          `${settings}: expected what the broker at ${args.host}:${args.port} takes, got a refusal: ${describe(error)}`,
        );
      }
    },
  });

/** How a client authenticates, or `undefined` for not at all. Secrets are read at each authentication. */
export const createSasl = (settings: KafkaSecuritySettings): Mechanism | undefined => {
  const { KAFKA_SASL_MECHANISM: mechanism, KAFKA_SASL_USERNAME: username } = settings;
  if (mechanism === "") return;
  if (mechanism === "OAUTHBEARER") {
    let provider: Promise<TokenProvider> | undefined;
    const getProvider = () => (provider ??= loadProvider(settings.KAFKA_SASL_OAUTHBEARER_PROVIDER));
    return {
      mechanism,
      authenticationProvider: tellApart(bearer(getProvider), PROVIDER),
    };
  }
  const sasl = {
    username,
    get password() {
      return settings.KAFKA_SASL_PASSWORD.reveal();
    },
  };
  return {
    mechanism,
    authenticationProvider: tellApart(
      PASSWORD_MECHANISMS[mechanism](sasl),
      "KAFKA_SASL_USERNAME, KAFKA_SASL_PASSWORD",
    ),
  };
};
