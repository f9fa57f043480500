import type { Log } from "../../src/support/log.ts";

/** A log that keeps its lines, each as `level message`. */
export interface MemoryLog extends Log {
  readonly lines: readonly string[];
}

export const createMemoryLog = (): MemoryLog => {
  const lines: string[] = [];
  return {
    lines,
    info: (message) => void lines.push(`info ${message}`),
    warn: (message) => void lines.push(`warn ${message}`),
    error: (message) => void lines.push(`error ${message}`),
  };
};
