import assert from "node:assert/strict";
import type { WorkerProcess } from "../../src/demo/worker-process.ts";
import { until } from "./scene.ts";

/** Samples by name and labels, as the text format has them: `name{label="value"}`. */
export class Samples {
  readonly #values: ReadonlyMap<string, number>;
  constructor(text: string) {
    const lines = text.split("\n").filter((line) => line !== "" && !line.startsWith("#"));
    this.#values = new Map(
      lines.map((line) => {
        const at = line.lastIndexOf(" ");
        return [line.slice(0, at), Number(line.slice(at + 1))] as const;
      }),
    );
  }
  /** The value of one sample, given without its prefix; `undefined` where there is none. */
  get(sample: string): number | undefined {
    return this.#values.get(`kafka_worker_${sample}`);
  }
  /** All samples of one name, by their labels. */
  of(name: string): Record<string, number> {
    const prefix = `kafka_worker_${name}{`;
    return Object.fromEntries(
      [...this.#values].flatMap(([key, value]) =>
        key.startsWith(prefix) ? [[key.slice(prefix.length, -1), value] as const] : [],
      ),
    );
  }
  /** The sum over all labels. */
  sum(name: string): number {
    return Object.values(this.of(name)).reduce((sum, value) => sum + value, this.get(name) ?? 0);
  }
  /** Every sample, with its full name. */
  entries(): [string, number][] {
    return [...this.#values];
  }
}

/** The address at which a worker with HTTP_PORT answers, as it says itself. */
export const urlOf = ({ lines }: WorkerProcess): string => {
  const url = lines
    .map((line) => /metrics at (\S+)\/metrics/.exec(line)?.[1])
    .find((own) => own !== undefined);
  assert.ok(url, "expected a worker that serves its metrics");
  return url;
};

export const scrape = async (worker: WorkerProcess): Promise<Samples> => {
  const response = await fetch(`${urlOf(worker)}/metrics`, { signal: AbortSignal.timeout(5000) });
  assert.equal(response.status, 200);
  return new Samples(await response.text());
};

/** The status of a probe, and what it says. */
export const probe = async (
  worker: WorkerProcess,
  path: "healthz" | "readyz",
): Promise<{ status: number; body: { ok: boolean; reasons: string[] } }> => {
  const response = await fetch(`${urlOf(worker)}/${path}`, { signal: AbortSignal.timeout(5000) });
  return { status: response.status, body: JSON.parse(await response.text()) };
};

/** Waits until the metrics satisfy `condition`, which may throw as long as they do not; gives them back. */
export const untilMetrics = async (
  worker: WorkerProcess,
  condition: (samples: Samples) => void | Promise<void>,
  ms = 20_000,
): Promise<Samples> => {
  let last: unknown;
  const isSatisfied = async () => {
    const samples = await scrape(worker);
    try {
      await condition(samples);
      return samples;
    } catch (error) {
      last = error;
      return;
    }
  };
  return until("the metrics", isSatisfied, ms).catch((error) => {
    throw last ?? error;
  });
};
