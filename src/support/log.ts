import type { Writable } from "node:stream";
import { styleText } from "node:util";
import { visible } from "./visible.ts";

/** Where a process says what it does. One line a call; what a line holds is for people, not for programs. */
export interface Log {
  info(message: string): void;
  warn(message: string): void;
  error(message: string): void;
}

/** For those who only want what was said to be lost. */
export const silentLog: Log = { info: () => {}, warn: () => {}, error: () => {} };

/** A log on `stream`: time, name and message; colours only where `stream` is a terminal. */
export const createLog = (name: string, stream: Writable = process.stdout): Log => {
  let collecting = false;
  const flush = () => {
    collecting = false;
    stream.uncork();
  };
  // The lines of one turn of the event loop are one write: to a pipe each write blocks the process.
  const collect = () => {
    if (collecting) return;
    collecting = true;
    stream.cork();
    setImmediate(flush);
  };
  process.once("exit", flush);
  // Whoever reads the log may go away: the work goes on.
  if (stream.listenerCount("error") === 0) stream.on("error", () => {});

  const write = (message: string) => {
    const time = new Date().toISOString().slice(11, 23);
    collect();
    stream.write(`${time} [${name}] ${message}\n`);
  };
  return {
    info: (message) => write(visible(message)),
    warn: (message) => write(styleText("yellow", visible(message), { stream })),
    error: (message) => write(styleText("red", visible(message), { stream })),
  };
};
