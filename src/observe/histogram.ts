import { Counter, Histogram, type HistogramConfiguration } from "prom-client";

type Labels = Readonly<Record<string, string | number>>;

/** What was observed with the same labels. */
interface Series {
  readonly labels: Labels;
  /** By bucket; the last one is for all that is above the others. */
  readonly counts: number[];
  sum: number;
}

/** What has the same labels so far, by the value of the next one. */
interface Labelled {
  readonly by: Map<string | number, Labelled>;
  series?: Series;
}

const createLabelled = (): Labelled => ({ by: new Map() });

export interface TallyOptions extends Pick<HistogramConfiguration<string>, "name" | "help" | "registers"> {
  /** The upper bounds, in seconds, from the least on. */
  readonly buckets: readonly number[];
  readonly labelNames: readonly string[];
}

/**
 * A histogram of prom-client that is told of values by `tally`. The library (15.1.3) keeps a bucket as the property
 * whose name is its bound, so that each value turns a number into text: that was most of what metrics cost. Can go once
 * the library counts in an array.
 */
export class Tally extends Histogram {
  readonly #own: TallyOptions;
  /** An empty one: what the library says of a histogram beside its values. */
  readonly #empty: Histogram;
  readonly #root = createLabelled();
  readonly #all: Series[] = [];

  constructor(own: TallyOptions) {
    super({ ...own, buckets: [...own.buckets], labelNames: [...own.labelNames] });
    this.#own = own;
    this.#empty = new Histogram({ name: own.name, help: own.help, registers: [] });
    if (own.labelNames.length === 0) this.#seriesOf({});
  }

  #seriesOf(labels: Labels): Series {
    // By one label after the other: a text of all of them as one key would be made anew for each value.
    let at = this.#root;
    for (const name of this.#own.labelNames) {
      const value = labels[name] ?? "";
      // `get` is compiled into this loop, which getOrInsertComputed is not.
      at = at.by.get(value) ?? at.by.getOrInsertComputed(value, createLabelled);
    }
    if (at.series === undefined) {
      at.series = { labels, counts: Array(this.#own.buckets.length + 1).fill(0), sum: 0 };
      this.#all.push(at.series);
    }
    return at.series;
  }

  /** Counts a value, in seconds. */
  tally(labels: Labels, seconds: number): void {
    const series = this.#seriesOf(labels);
    const { buckets } = this.#own;
    let bucket = 0;
    while (bucket < buckets.length && seconds > Number(buckets[bucket])) bucket += 1;
    series.counts[bucket] = Number(series.counts[bucket]) + 1;
    series.sum += seconds;
  }

  /** A counter of the values, by the same labels. */
  createCounter(name: string, help: string): Counter {
    const { labelNames, registers = [] } = this.#own;
    const all = this.#all;
    return new Counter({
      name,
      help,
      labelNames: [...labelNames],
      registers,
      collect() {
        this.reset();
        for (const { labels, counts } of all)
          this.inc(
            labels,
            counts.reduce((sum, own) => sum + own, 0),
          );
      },
    });
  }

  override async get() {
    const { name, buckets } = this.#own;
    const values = this.#all.flatMap(({ labels, counts, sum }) => {
      let count = 0;
      const upTo = counts.map((own, i) => {
        count += own;
        return {
          metricName: `${name}_bucket`,
          labels: { ...labels, le: buckets[i] ?? "+Inf" },
          value: count,
        };
      });
      return [
        ...upTo,
        { metricName: `${name}_sum`, labels, value: sum },
        { metricName: `${name}_count`, labels, value: count },
      ];
    });
    return { ...(await this.#empty.get()), values };
  }

  /** What the library asks for where it renders. */
  getForPromString() {
    return this.get();
  }
}
