import type { Admin } from "kafkajs";
import { type SilentProxy, startSilentProxy } from "../../src/demo/silent-proxy.ts";

const LENGTH_BYTES = 4;

/** A host and port as the Kafka protocol writes them. */
const encodeAddress = (host: string, port: number): Buffer => {
  const name = Buffer.from(host);
  const bytes = Buffer.alloc(2 + name.length + 4);
  bytes.writeInt16BE(name.length);
  name.copy(bytes, 2);
  bytes.writeInt32BE(port, 2 + name.length);
  return bytes;
};

/** Cuts a stream into frames and gives back those that are whole, changed. */
const byFrame = (change: (frame: Buffer) => void) => () => {
  let rest: Buffer = Buffer.alloc(0);
  return (chunk: Buffer): Buffer => {
    rest = Buffer.concat([rest, chunk]);
    let end = 0;
    while (rest.length - end >= LENGTH_BYTES) {
      const next = end + LENGTH_BYTES + rest.readInt32BE(end);
      if (next > rest.length) break;
      change(rest.subarray(end, next));
      end = next;
    }
    const whole = rest.subarray(0, end);
    rest = Buffer.from(rest.subarray(end));
    return whole;
  };
};

/**
 * Stands before a broker for one client alone, and can fall silent. A client is told by the broker where it is, so that
 * address is exchanged for the proxy's in every answer. It has the same host, and so the same length.
 */
export const startSilentBrokerProxy = async (
  admin: Pick<Admin, "describeCluster">,
): Promise<SilentProxy & { readonly brokers: string }> => {
  const { brokers } = await admin.describeCluster();
  const [broker] = brokers;
  if (broker === undefined || brokers.length > 1)
    throw new Error(`expected one broker, got ${brokers.length}`);
  const told = encodeAddress(broker.host, broker.port);
  let own: Buffer = told;
  const proxy = await startSilentProxy(
    broker,
    byFrame((frame) => {
      for (let at = frame.indexOf(told); at >= 0; at = frame.indexOf(told, at + told.length))
        own.copy(frame, at);
    }),
  );
  own = encodeAddress(broker.host, proxy.port);
  return Object.assign(proxy, { brokers: `${proxy.host}:${proxy.port}` });
};
