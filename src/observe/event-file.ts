import { closeSync, openSync, writeSync } from "node:fs";
import { hostname } from "node:os";
import { describe } from "../support/errors.ts";
import type { Log } from "../support/log.ts";
import { SettingsError } from "../support/settings.ts";
import { type EventName, listen } from "../worker/telemetry.ts";

/** What of a worker's life is kept: not what counts requests and bytes, of which there are many. */
const KEPT = [
  "message.dispatched",
  "message.dead-letter",
  "execution.started",
  "execution.resumed",
  "execution.taken-over",
  "execution.suspended",
  "execution.ended",
  "execution.handed-back",
  "lease.lost",
  "step.begun",
  "step.retried",
  "step.ended",
  "step.answered",
  "completion.published",
  "outage.begun",
  "outage.over",
  "worker.ready",
  "worker.stopping",
] as const satisfies readonly EventName[];

const openFile = (path: string): number => {
  try {
    return openSync(path, "a");
  } catch (cause) {
    const got = `${JSON.stringify(path)} (${describe(cause)})`;
    throw new SettingsError([`EVENTS_FILE: expected a file that can be written, got ${got}`], { cause });
  }
};

/**
 * Appends the events of this process's worker to a file, one JSON object a line: `time` in milliseconds since 1970,
 * `pid`, `hostname`, `event`, and the event's own fields. Several workers may share a file. An event is in the file when it has
 * been told, so that a kill loses none. An empty path keeps nothing.
 *
 * @throws {SettingsError} when the file cannot be opened
 */
export const keepEvents = (path: string, log: Log): Disposable => {
  using opened = new DisposableStack();
  if (path !== "") {
    const file = openFile(path);
    opened.defer(() => closeSync(file));
    const own = { pid: process.pid, hostname: hostname() };
    let isBroken = false;
    const write = (event: EventName, fields: object) => {
      if (isBroken) return;
      try {
        writeSync(file, `${JSON.stringify({ time: Date.now(), ...own, event, ...fields })}\n`);
      } catch (error) {
        isBroken = true;
        log.warn(`no more events are kept in ${path}: ${describe(error)}`);
      }
    };
    for (const event of KEPT) opened.use(listen(event, (fields) => write(event, fields)));
  }
  return opened.move();
};
