import { AsyncLocalStorage } from "node:async_hooks";
import { oneOf } from "./settings.ts";

/** What a line says beside its message, for programs to read. */
export interface LogFields {
  /** The id of the message that is worked on, whatever the job calls it. */
  readonly recordId?: string | undefined;
  readonly partition?: number;
  readonly offset?: string;
  /** The name of the worker. */
  readonly worker?: string;
  /** The name of the step, and the number of its try in this process, from 1. */
  readonly step?: string;
  readonly attempt?: number;
  /** The batch of a deletion, from 0. */
  readonly batch?: number;
  readonly [name: string]: unknown;
}

interface Write {
  (message: string): void;
  (fields: LogFields, message: string): void;
}

/** Where a process says what it does: a line a call, of a message for people and fields for programs. */
export interface Log {
  readonly debug: Write;
  readonly info: Write;
  readonly warn: Write;
  readonly error: Write;
  /** The same log, with fields that stand in each of its lines. */
  child(fields: LogFields): Log;
}

/** For those who only want what was said to be lost. */
export const silentLog: Log = {
  debug: () => {},
  info: () => {},
  warn: () => {},
  error: () => {},
  child: () => silentLog,
};

/** What a log is set by, in the order of `.env.example`. */
export const logSchema = {
  LOG_LEVEL: oneOf(["info", "debug", "warn", "error", "silent"], {
    expected: "debug, info, warn, error or silent",
    about: "Lines of this level and above are logged: debug, info, warn, error, or silent for none.",
  }),
  LOG_FORMAT: oneOf(["auto", "json", "pretty"], {
    expected: "auto, json or pretty",
    about: "json: an object a line; pretty: text to read; auto: pretty on a terminal, json anywhere else.",
  }),
};

const fieldsOfWork = new AsyncLocalStorage<LogFields>();

/** Does `work`, such that each line that is logged meanwhile by it has `fields`. */
export const withLogFields = <R>(fields: LogFields, work: () => R): R => fieldsOfWork.run(fields, work);

/** The fields of the work that is being done at this moment. */
export const currentLogFields = (): LogFields => fieldsOfWork.getStore() ?? {};
