import type { Socket } from "node:net";
import { answerRequest } from "./apis.ts";
import type { BrokerState } from "./request.ts";

/** Kafka's default `socket.request.max.bytes`. */
const maxFrameBytes = 100 * 1024 * 1024;
const lengthBytes = 4;
/** With so many requests unanswered the connection is read no further. */
const maxQueuedFrames = 64;

/** Cuts a byte stream into frames; throws on a length no request can have. */
const createFramer = () => {
  let chunks: Buffer[] = [];
  let buffered = 0;
  let needed = lengthBytes;
  return (chunk: Buffer): Buffer[] => {
    chunks.push(chunk);
    buffered += chunk.length;
    if (buffered < needed) return []; // joined only when a frame is whole: a large one arrives in many chunks
    let rest = Buffer.concat(chunks);
    const frames: Buffer[] = [];
    needed = lengthBytes;
    while (rest.length >= needed) {
      const length = rest.readInt32BE(0);
      if (length <= 0 || length > maxFrameBytes) throw new RangeError(`frame of ${length} bytes`);
      needed = lengthBytes + length;
      if (rest.length < needed) break;
      frames.push(rest.subarray(lengthBytes, needed));
      rest = rest.subarray(needed);
      needed = lengthBytes;
    }
    chunks = [rest];
    buffered = rest.length;
    return frames;
  };
};

/** The promise's outcome, or undefined as soon as the signal aborts. Keeps no hold on the signal afterwards. */
const unlessAborted = <T>(work: Promise<T>, signal: AbortSignal): Promise<T | undefined> => {
  const { promise, resolve } = Promise.withResolvers<undefined>();
  const abort = () => resolve(undefined);
  if (signal.aborted) abort();
  else signal.addEventListener("abort", abort);
  return Promise.race([work, promise]).finally(() => signal.removeEventListener("abort", abort));
};

export interface Connection {
  /** Cuts the connection; requests not yet begun are not begun any more. */
  destroy(): void;
}

/**
 * Serves one client: its requests one after the other, as Kafka does, so that answers keep their order. Whatever
 * breaks while doing so closes this connection and is told to the logger.
 */
export const serveConnection = (
  socket: Socket,
  state: BrokerState,
  logger: (message: string) => void,
): Connection => {
  const clientHost = `/${socket.remoteAddress ?? "unknown"}`;
  const closing = new AbortController();
  const closed = closing.signal;
  const readFrames = createFramer();
  const queue: Buffer[] = [];
  let busy = false;

  const destroy = () => {
    queue.length = 0;
    socket.destroy();
  };
  const fail = (error: unknown) => {
    logger(`connection of ${clientHost} closed: ${error instanceof Error ? error.message : String(error)}`);
    destroy();
  };
  const write = (response: Buffer) => {
    const { promise, resolve } = Promise.withResolvers<void>();
    socket.write(response, () => resolve()); // called on failure too; the close that follows tells the rest
    return promise;
  };
  const work = async () => {
    if (busy) return;
    busy = true;
    for (let frame = queue.shift(); frame !== undefined; frame = queue.shift()) {
      // What came before a close is still carried out, as a produce without acks must be; only nobody waits for it.
      const response = await unlessAborted(answerRequest(frame, { state, clientHost, closed }), closed);
      if (response !== undefined) await write(response);
      if (queue.length < maxQueuedFrames) socket.resume();
    }
    busy = false;
  };

  socket.setNoDelay(true);
  socket.on("error", (error) => logger(`connection of ${clientHost}: ${error.message}`));
  socket.on("close", () => closing.abort());
  socket.on("data", (chunk) => {
    if (typeof chunk === "string") return; // never: the socket has no encoding
    try {
      queue.push(...readFrames(chunk));
    } catch (error) {
      return fail(error);
    }
    if (queue.length >= maxQueuedFrames) socket.pause();
    work().catch(fail);
  });
  return { destroy };
};
