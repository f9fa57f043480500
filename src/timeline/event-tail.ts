import { closeSync, openSync, readSync } from "node:fs";
import { type EventLine, parseEventLine } from "./event-line.ts";

const CHUNK_BYTES = 256 * 1024;

/** Reads a file that others append to. */
export interface EventTail extends Disposable {
  /** The events that came since the last call, in the order in which they were written. */
  read(): EventLine[];
}

/** Makes the file where it is missing, and reads it from its beginning. */
export const openEventTail = (path: string): EventTail => {
  const file = openSync(path, "a+");
  const buffer = Buffer.alloc(CHUNK_BYTES);
  const decoder = new TextDecoder();
  let position = 0;
  let rest = "";
  return {
    read: () => {
      for (;;) {
        const bytes = readSync(file, buffer, 0, CHUNK_BYTES, position);
        if (bytes === 0) break;
        position += bytes;
        rest += decoder.decode(buffer.subarray(0, bytes), { stream: true });
      }
      const lines = rest.split("\n");
      // The last one is not whole yet.
      rest = lines.pop() ?? "";
      return lines.map(parseEventLine).filter((line) => line !== undefined);
    },
    [Symbol.dispose]: () => closeSync(file),
  };
};
