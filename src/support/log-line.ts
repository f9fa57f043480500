/** A line of a log, read: its message, and its fields where it is one of a program's own log. */
export interface LogLine {
  readonly msg: string;
  readonly [field: string]: unknown;
}

/** Reads a line that a program printed. What is not JSON, such as a last error, is a message without fields. */
export const readLogLine = (line: string): LogLine => {
  try {
    const read: unknown = JSON.parse(line);
    if (read !== null && typeof read === "object" && "msg" in read) return { ...read, msg: String(read.msg) };
  } catch {
    // Not of the log.
  }
  return { msg: line };
};
