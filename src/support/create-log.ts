import { fstatSync } from "node:fs";
import type { Writable } from "node:stream";
import { pino } from "pino";
import { describe } from "./errors.ts";
import { currentLogFields, type Log, type LogFields, logSchema } from "./log.ts";
import { type Env, parseSettings } from "./settings.ts";
import { visible } from "./visible.ts";

/** Fields of these names are never shown, whoever logs them. */
const SECRET_NAME = /password|secret|token|authorization/i;

/** Names of fields, and whether they are secret. Most are those of code, and few: to judge them anew each time costs. */
const names = new Map<string, boolean>();
const MAX_NAMES = 1000;

const isSecret = (name: string): boolean => {
  const known = names.get(name);
  if (known !== undefined) return known;
  const found = SECRET_NAME.test(name);
  if (names.size < MAX_NAMES) names.set(name, found);
  return found;
};

/** A value as it may be shown: outside text made visible and cut, secrets hidden, anything else as its JSON. */
const shownValue = (name: string, value: unknown): unknown => {
  if (isSecret(name)) return "[secret]";
  if (typeof value === "string") return visible(value);
  if (typeof value !== "object" || value === null) return value;
  if (value instanceof Error) return visible(describe(value));
  try {
    const text = JSON.stringify(value, (own, inner) => (isSecret(own) ? "[secret]" : inner));
    return JSON.parse(text, (_, inner) => (typeof inner === "string" ? visible(inner) : inner));
  } catch (error) {
    return `[${visible(describe(error))}]`;
  }
};

const shown = (...all: Readonly<Record<string, unknown>>[]): Record<string, unknown> => {
  const own: Record<string, unknown> = {};
  for (const fields of all)
    for (const name of Object.keys(fields)) own[name] = shownValue(name, fields[name]);
  return own;
};

/** Writes the time of a line as pino's isoTime does, but makes the part up to the second only once a second. */
const createTimestamp = () => {
  let [second, upToSecond] = [-1, ""];
  return () => {
    const now = Date.now();
    if (Math.floor(now / 1000) !== second) {
      second = Math.floor(now / 1000);
      upToSecond = new Date(now).toISOString().slice(0, -4);
    }
    return `,"time":"${upToSecond}${String(now % 1000).padStart(3, "0")}Z"`;
  };
};

/** What a stream to a terminal or a file has beside others. */
interface Terminal {
  readonly isTTY?: boolean;
  readonly fd?: number;
  hasColors?(): boolean;
}

/** What a pipe takes in one piece (PIPE_BUF of Linux), in bytes, and what is written to a file in one. */
const PIPE_BYTES = 4096;
const FILE_BYTES = 64 * 1024;

const isFile = ({ fd }: Terminal): boolean => fd !== undefined && fstatSync(fd).isFile();

/** How long lines behind a first one wait to be written together, in milliseconds. */
const COLLECT_MS = 50;

/**
 * Writes lines to `stream` in pieces: a line that comes alone at once, those of the next milliseconds together, since
 * each write costs, but no more than a pipe takes whole, and one after the other. Several workers may share a pipe, and
 * their lines must not mix.
 */
const collectTo = (stream: Writable & Terminal) => {
  const pieceBytes = isFile(stream) ? FILE_BYTES : PIPE_BYTES;
  const pieces: string[] = [];
  let [last, bytes] = ["", 0];
  let [isWriting, isCollecting] = [false, false];
  const endPiece = () => {
    if (last !== "") pieces.push(last);
    [last, bytes] = ["", 0];
  };
  const writeNext = () => {
    const piece = pieces.shift();
    isWriting = piece !== undefined;
    if (piece !== undefined) stream.write(piece, writeNext);
  };
  const flush = () => {
    endPiece();
    if (!isWriting) writeNext();
  };
  process.once("exit", () => {
    endPiece();
    for (const piece of pieces) stream.write(piece);
  });
  // Whoever reads the log may go away: the work goes on. Pino's own streams would try for ever to write the rest at exit.
  if (stream.listenerCount("error") === 0) stream.on("error", () => {});
  const collect = () => {
    isCollecting = true;
    setTimeout(() => {
      isCollecting = false;
      if (last === "") return;
      flush();
      collect();
    }, COLLECT_MS);
  };
  return (line: string) => {
    const size = Buffer.byteLength(line);
    if (bytes + size > pieceBytes) endPiece();
    last += line;
    bytes += size;
    if (isCollecting) return;
    flush();
    collect();
  };
};

/** Makes lines to read of lines of JSON; `undefined` where pino-pretty is not installed. */
const loadPrettify = async (colorize: boolean): Promise<((line: string) => string) | undefined> => {
  try {
    const { prettyFactory } = await import("pino-pretty");
    // The messages hold what people look for; the fields are for programs.
    return prettyFactory({ colorize, translateTime: "HH:MM:ss.l", hideObject: true });
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ERR_MODULE_NOT_FOUND") return;
    throw error;
  }
};

/**
 * A log on `stream`, as LOG_LEVEL and LOG_FORMAT have it. Each of its lines names the program and its process.
 *
 * @throws {SettingsError} when one of the two is not valid
 */
export const createLog = async (
  name: string,
  { env, stream = process.stdout }: { env: Env; stream?: Writable & Terminal },
): Promise<Log> => {
  const { LOG_LEVEL, LOG_FORMAT } = parseSettings(logSchema, env);
  const isPretty = LOG_FORMAT === "pretty" || (LOG_FORMAT === "auto" && stream.isTTY === true);
  const prettify = isPretty ? await loadPrettify(stream.hasColors?.() ?? false) : undefined;
  const write = collectTo(stream);
  const log = pino(
    {
      name,
      level: LOG_LEVEL,
      base: { pid: process.pid },
      timestamp: createTimestamp(),
      formatters: { level: (level) => ({ level }) },
      hooks: {
        logMethod([first, message], method) {
          const [fields, text] = first !== null && typeof first === "object" ? [first, message] : [{}, first];
          method.call(this, shown(currentLogFields(), fields), visible(String(text)));
        },
      },
    },
    { write: prettify === undefined ? write : (line) => write(prettify(line)) },
  );
  if (isPretty && prettify === undefined)
    log.warn("lines are JSON: 'npm install pino-pretty' makes them readable");
  const { child } = log;
  return Object.assign(log, {
    child(this: typeof log, fields: LogFields): Log {
      return child.call(this, shown(fields));
    },
  });
};
