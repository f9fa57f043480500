import type { Logger } from "@resonatehq/sdk";
import type { Log } from "../support/log.ts";

/** Between two lines about the same trouble: an outage of the server fails every request of every execution. */
const SAME_LINE_INTERVAL_MS = 5000;

/** Said once more, by another part of the SDK (0.11.5), of what has just been said. */
const ECHOES: ReadonlySet<string> = new Set(["onMessage failed", "executeUntilBlocked failed"]);

/** What the SDK says, as lines of `log`; warnings and errors that repeat are shown at most every five seconds. */
export const createResonateLogger = (log: Log): Logger => {
  const shownAt = new Map<string, number>();
  const show = (level: "warn" | "error", fields: Record<string, unknown>, message: string) => {
    if (ECHOES.has(message)) return;
    const line = typeof fields.error === "string" ? `${message}: ${fields.error}` : message;
    const now = Date.now();
    if (now - (shownAt.get(line) ?? 0) < SAME_LINE_INTERVAL_MS) return;
    if (shownAt.size > 1000) shownAt.clear();
    shownAt.set(line, now);
    log[level]({ resonate: fields }, `resonate: ${line}`);
  };
  return {
    debug: (fields, message) => log.debug({ resonate: fields }, message),
    info: (fields, message) => log.debug({ resonate: fields }, message),
    warn: (fields, message) => show("warn", fields, message),
    error: (fields, message) => show("error", fields, message),
  };
};
