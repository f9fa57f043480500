import { styleText } from "node:util";

/** Where a process says what it does. One line a call; what a line holds is for people, not for programs. */
export interface Log {
  info(message: string): void;
  warn(message: string): void;
  error(message: string): void;
}

/** A log on `stream`: time, name and message; colours only where `stream` is a terminal. */
export const createLog = (name: string, stream: NodeJS.WritableStream = process.stdout): Log => {
  const write = (format: Parameters<typeof styleText>[0], message: string) => {
    const time = new Date().toISOString().slice(11, 23);
    const line = styleText(format, message, { stream, validateStream: true });
    stream.write(`${time} [${name}] ${line}\n`);
  };
  return {
    info: (message) => write("reset", message),
    warn: (message) => write("yellow", message),
    error: (message) => write("red", message),
  };
};
