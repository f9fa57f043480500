import type { Env } from "./settings.ts";

/** The longest distance of a misspelt name from the one that was meant, in characters. */
const MAX_DISTANCE = 2;

/** How many characters must be put in, left out or replaced to make `a` of `b` (Levenshtein), exact up to MAX_DISTANCE. */
const distance = (a: string, b: string): number => {
  let row = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (const [i, own] of [...a].entries()) {
    const next = [i + 1];
    for (const [j, other] of [...b].entries()) {
      const replaced = (row[j] ?? 0) + (own === other ? 0 : 1);
      next.push(Math.min(replaced, (row[j + 1] ?? 0) + 1, (next[j] ?? 0) + 1));
    }
    // The distance only grows from here on.
    if (Math.min(...next) > MAX_DISTANCE) return Number.POSITIVE_INFINITY;
    row = next;
  }
  return row.at(-1) ?? 0;
};

/** Names in `env` that are most likely a misspelt one of `names`, in any case, each with the one that was meant. */
export const findMisspelt = (names: readonly string[], env: Env): Map<string, string> => {
  const unknown = Object.keys(env).filter((name) => !names.includes(name) && /^[A-Z]\w{4,}$/i.test(name));
  return new Map(
    unknown.flatMap((name) => {
      const upper = name.toUpperCase();
      const meant = names.find(
        (one) => Math.abs(one.length - name.length) <= MAX_DISTANCE && distance(upper, one) <= MAX_DISTANCE,
      );
      return meant === undefined ? [] : [[name, meant] as const];
    }),
  );
};
