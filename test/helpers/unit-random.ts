export { createRandom } from "../../src/support/random.ts";

/** A whole number from 0 up to, but not including, `end`. */
export const randomBelow = (random: () => number, end: number): number => Math.floor(random() * end);

export const shuffled = <T>(random: () => number, items: readonly T[]): T[] =>
  items
    .map((item) => ({ item, rank: random() }))
    .sort((a, b) => a.rank - b.rank)
    .map(({ item }) => item);
