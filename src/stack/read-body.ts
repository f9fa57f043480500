import type { IncomingMessage } from "node:http";

/** The body of a request as text; `undefined` where it is larger than `maxBytes`, and then it is read no further. */
export const readBody = async (incoming: IncomingMessage, maxBytes: number): Promise<string | undefined> => {
  if (Number(incoming.headers["content-length"]) > maxBytes) return;
  const chunks: Buffer[] = [];
  let size = 0;
  // Not destroyed where it is left: the answer goes over the same connection.
  for await (const chunk of incoming.iterator({ destroyOnReturn: false })) {
    size += chunk.length;
    if (size > maxBytes) return;
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString("utf8");
};
