import { isIP } from "node:net";
import { connect } from "node:tls";
import type { ISocketFactory, KafkaConfig } from "kafkajs";
import { readSecureContext } from "../support/tls.ts";
import { findAccessError } from "./access.ts";
import { toHost } from "./addresses.ts";
import { createSasl } from "./sasl.ts";
import type { KafkaSecuritySettings } from "./security-settings.ts";

/** How long a connection is idle before TCP probes it, in milliseconds: as kafkajs does. */
const KEEP_ALIVE_MS = 60_000;

const nameSetting = (error: Error): void => {
  error.message = findAccessError(error)?.message ?? error.message;
};

/**
 * What kafkajs needs to speak to secured brokers. Certificates, keys and passwords are read at each new connection, so
 * that they can be replaced while the process runs.
 *
 * @throws {AccessError} when a file with a certificate or key cannot be used
 */
export const createSecurity = (
  settings: KafkaSecuritySettings,
): Pick<KafkaConfig, "sasl" | "socketFactory"> => {
  const sasl = createSasl(settings);
  const authentication = sasl === undefined ? {} : { sasl };
  if (settings.KAFKA_TLS_ENABLED === "false") return authentication;

  const fileOf = <K extends keyof KafkaSecuritySettings>(name: K) => ({ name, path: String(settings[name]) });
  const files = {
    ca: fileOf("KAFKA_TLS_CAFILEPATH"),
    cert: fileOf("KAFKA_TLS_CERTFILEPATH"),
    key: fileOf("KAFKA_TLS_KEYFILEPATH"),
  };
  // What is wrong from the start is told at the start.
  readSecureContext(files);
  const socketFactory: ISocketFactory = ({ host: escaped, port, onConnect }) => {
    const host = toHost(escaped);
    const secureContext = readSecureContext(files);
    const servername = isIP(host) ? {} : { servername: host };
    const socket = connect({ host, port, ...servername, secureContext }, onConnect);
    // What kafkajs then logs and throws names the setting.
    socket.on("error", nameSetting);
    return socket.setKeepAlive(true, KEEP_ALIVE_MS);
  };
  return { ...authentication, socketFactory };
};
