import { appendFileSync } from "node:fs";
import { hostname } from "node:os";

/** A line of an event file, or of a log that has the same fields: who told what, and when. */
export interface EventLine {
  /** Milliseconds since 1970. */
  readonly time: number;
  readonly event: string;
  /** The process that told it. */
  readonly pid: number;
  /** On which machine or in which container, where that is told. */
  readonly hostname: string;
  /** The other fields, as `Events` of telemetry.ts names them; absent where they are not what is expected. */
  readonly text: (name: string) => string | undefined;
  readonly number: (name: string) => number | undefined;
}

/** A worker process is started, and something befalls one; `kind` is a signal or another short name. */
type Deed =
  | { readonly event: "worker.spawned"; readonly pid: number }
  | { readonly event: "worker.struck"; readonly pid: number; readonly kind: string };

/** Writes what is done to a worker among the events that workers keep; an empty path, or none, keeps nothing. */
export const tellDeed = (path: string | undefined, deed: Deed): void => {
  if (!path) return;
  appendFileSync(path, `${JSON.stringify({ time: Date.now(), hostname: hostname(), ...deed })}\n`);
};

/** Reads a line; `undefined` where it is no event, such as another line of a log. */
export const parseEventLine = (line: string): EventLine | undefined => {
  if (!line.startsWith("{")) return;
  let json: unknown;
  try {
    json = JSON.parse(line);
  } catch {
    // Another program's line, or one that was being written when its process died.
    return;
  }
  if (typeof json !== "object" || json === null) return;
  const fields = new Map<string, unknown>(Object.entries(json));
  const text = (name: string) => {
    const value = fields.get(name);
    return typeof value === "string" ? value : undefined;
  };
  const number = (name: string) => {
    const value = fields.get(name);
    return typeof value === "number" && Number.isFinite(value) ? value : undefined;
  };
  const [time, event, pid] = [number("time"), text("event"), number("pid")];
  if (time === undefined || event === undefined || pid === undefined) return;
  return { time, event, pid, hostname: text("hostname") ?? "", text, number };
};
