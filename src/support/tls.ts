import { createPrivateKey, X509Certificate } from "node:crypto";
import { createSecureContext, type SecureContext } from "node:tls";
import { AccessError } from "./access-error.ts";
import { toError } from "./errors.ts";
import { readFileOf } from "./secret.ts";

/** A file with a certificate or key: the setting's name and its value, a path, empty for none. */
export interface PemFile {
  readonly name: string;
  readonly path: string;
}

/** @throws {AccessError} when the file cannot be read or holds something else */
const readPem = <T>(
  { name, path }: PemFile,
  what: string,
  parse: (pem: string) => T,
): { pem: string; parsed: T } => {
  const pem = readFileOf(name, path);
  try {
    return { pem, parsed: parse(pem) };
  } catch (error) {
    throw new AccessError(`${name}: expected ${what} in PEM, got ${toError(error).message} for ${path}`);
  }
};

const CERTIFICATE = "a certificate";
const toCertificate = (pem: string) => new X509Certificate(pem);

/** The authorities that a file holds; none where there is no file. @throws {AccessError} when it cannot be used */
export const readAuthorities = (ca: PemFile): { ca?: string } =>
  ca.path === "" ? {} : { ca: readPem(ca, CERTIFICATE, toCertificate).pem };

/**
 * What a TLS client trusts and shows, from files as they are now. Without a CA file it trusts what Node trusts.
 *
 * @throws {AccessError} when a file cannot be used
 */
export const readSecureContext = ({
  ca,
  cert,
  key,
}: {
  ca: PemFile;
  cert?: PemFile;
  key?: PemFile;
}): SecureContext => {
  const trusted = readAuthorities(ca);
  if (!cert?.path || !key) return createSecureContext(trusted);
  const own = readPem(cert, CERTIFICATE, toCertificate);
  const secret = readPem(key, "a private key without a passphrase", createPrivateKey);
  if (!own.parsed.checkPrivateKey(secret.parsed)) {
    throw new AccessError(
      `${key.name}: expected the key of the certificate in ${cert.path}, got another one`,
    );
  }
  return createSecureContext({ ...trusted, cert: own.pem, key: secret.pem });
};

/** The settings that a failed handshake may be about. */
export interface TlsNames {
  /** Holds the server's address. */
  readonly address: string;
  readonly ca: string;
  readonly cert?: string;
  /** Turns TLS on. */
  readonly enabled: string;
}

const UNTRUSTED: ReadonlySet<string> = new Set([
  "UNABLE_TO_GET_ISSUER_CERT",
  "UNABLE_TO_GET_ISSUER_CERT_LOCALLY",
  "UNABLE_TO_VERIFY_LEAF_SIGNATURE",
  "SELF_SIGNED_CERT_IN_CHAIN",
  "DEPTH_ZERO_SELF_SIGNED_CERT",
  "CERT_SIGNATURE_FAILURE",
  "CERT_UNTRUSTED",
  "INVALID_CA",
  "INVALID_PURPOSE",
]);
const OUT_OF_DATE: ReadonlySet<string> = new Set(["CERT_HAS_EXPIRED", "CERT_NOT_YET_VALID"]);
const NO_TLS: ReadonlySet<string> = new Set([
  "ERR_SSL_WRONG_VERSION_NUMBER",
  "ERR_SSL_PACKET_LENGTH_TOO_LONG",
]);

/** The line for a TLS error, by its code, if it is one that stays until a setting or certificate changes. */
export const explainTls = (code: string, names: TlsNames): string | undefined => {
  if (UNTRUSTED.has(code)) {
    return `${names.ca}: expected the authority that signed the server's certificate, got another (${code})`;
  }
  if (OUT_OF_DATE.has(code)) {
    return `${names.address}: expected a server whose certificate is valid now, got ${code}`;
  }
  if (code === "ERR_TLS_CERT_ALTNAME_INVALID") {
    return `${names.address}: expected a host that the server's certificate is for, got ${code}`;
  }
  if (NO_TLS.has(code))
    return `${names.enabled}: expected a server that speaks TLS, got one that does not (${code})`;
  // The server's word about the client's certificate, which it may also have missed.
  if (/^ERR_SSL_.*ALERT_.*(CERTIFICATE|UNKNOWN_CA|ACCESS_DENIED|HANDSHAKE_FAILURE)/.test(code)) {
    return `${names.cert ?? names.enabled}: expected a client certificate that the server takes, got ${code}`;
  }
  return;
};
