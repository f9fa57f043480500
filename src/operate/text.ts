import { visible } from "../support/visible.ts";

/** Rows as lines, their cells below one another; what comes from outside is only made visible. */
export const toColumns = (rows: readonly (readonly string[])[]): string[] => {
  const shown = rows.map((row) => row.map(visible));
  const widths = shown.reduce<number[]>(
    (all, row) => row.map((cell, i) => Math.max(cell.length, all[i] ?? 0)),
    [],
  );
  return shown.map((row) =>
    row
      .map((cell, i) => cell.padEnd(widths[i] ?? 0))
      .join("  ")
      .trimEnd(),
  );
};

const UNITS = [
  ["d", 86_400_000],
  ["h", 3_600_000],
  ["min", 60_000],
  ["s", 1000],
] as const;

/** A time in milliseconds as a reader says it: `450 ms`, `3.2 s`, `1.5 h`. */
export const duration = (ms: number): string => {
  const [unit, size] = UNITS.find(([, own]) => ms >= own) ?? ["ms", 1];
  return `${Math.round((ms / size) * (unit === "ms" ? 1 : 10)) / (unit === "ms" ? 1 : 10)} ${unit}`;
};

/** A number of things: `1 record`, `2 records`. */
export const count = (n: number, one: string, many = `${one}s`): string => `${n} ${n === 1 ? one : many}`;
