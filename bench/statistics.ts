/** What many samples of one quantity come to. */
export interface Spread {
  readonly n: number;
  readonly median: number;
  readonly min: number;
  readonly max: number;
  /** Nine in ten are not above it. */
  readonly p90: number;
}

/** The value `share`, 0 to 1, of the sorted samples lie below, interpolated. NaN where there are none. */
const quantile = (sorted: readonly number[], share: number): number => {
  const at = (sorted.length - 1) * share;
  const low = sorted[Math.floor(at)] ?? Number.NaN;
  const high = sorted[Math.ceil(at)] ?? low;
  return low + (high - low) * (at - Math.floor(at));
};

export const spreadOf = (samples: readonly number[]): Spread => {
  const sorted = samples.toSorted((a, b) => a - b);
  return {
    n: sorted.length,
    median: quantile(sorted, 0.5),
    min: quantile(sorted, 0),
    max: quantile(sorted, 1),
    p90: quantile(sorted, 0.9),
  };
};

/** Three significant digits, thousands with a comma. */
export const format = (value: number): string =>
  new Intl.NumberFormat("en-US", { maximumSignificantDigits: value >= 1000 ? 4 : 3 }).format(value);

/** The median, and from where to where the samples go. */
export const formatSpread = ({ median, min, max }: Spread, unit = ""): string =>
  `${format(median)}${unit} (${format(min)}–${format(max)})`;
