import { currentLogFields, type Log, type LogFields } from "../../src/support/log.ts";

/** A log that keeps its lines, each as `level message`, and beside them their fields. */
export interface MemoryLog extends Log {
  readonly lines: readonly string[];
  readonly fields: readonly LogFields[];
}

export const createMemoryLog = (): MemoryLog => {
  const lines: string[] = [];
  const fields: LogFields[] = [];
  const at = (level: string, bound: LogFields) => (first: string | LogFields, message?: string) => {
    lines.push(`${level} ${message ?? first}`);
    fields.push({ ...bound, ...currentLogFields(), ...(typeof first === "string" ? {} : first) });
  };
  const bind = (bound: LogFields): Log => ({
    // What is told at this level is for those who look for a fault: tests read what everyone sees.
    debug: () => {},
    info: at("info", bound),
    warn: at("warn", bound),
    error: at("error", bound),
    child: (more) => bind({ ...bound, ...more }),
  });
  return { ...bind({}), lines, fields };
};
