import type { ISocketFactory } from "kafkajs";
import createSocketFactory from "kafkajs/src/network/socketFactory.js";

const ESCAPED_COLON = "%3A";

/**
 * `host:port` as kafkajs 2.2.4 can take it: it splits at the first ':', so those of an IPv6 address are escaped, and its
 * brackets go. `toHost` undoes that.
 */
export const kafkajsAddress = (address: string): string =>
  address.replace(/^\[([^\]]*)\]/, (_, ip: string) => ip.replaceAll(":", ESCAPED_COLON));

/** The host behind one that `kafkajsAddress` wrote. */
export const toHost = (host: string): string => host.replaceAll(ESCAPED_COLON, ":");

const connect = createSocketFactory();

/** kafkajs's own way to open a connection, to hosts as `kafkajsAddress` writes them, too. */
export const connectTo: ISocketFactory = ({ host, ...options }) =>
  connect({ host: toHost(host), ...options });
