/** @import { Data } from "./data.js" */

/** Columns into which time is cut. */
const COLUMNS = 600;

/**
 * How many records were in which state over time, running ones by worker: layers from the lowest to the uppermost.
 *
 * @param {Data} data
 */
export const countOverTime = (data) => {
  const order = [
    ...data.workers.map((_, worker) => `running ${worker}`),
    "retrying",
    "orphaned",
    "asleep",
    "queued",
  ];
  /** @type {Map<string, Float64Array>} */
  const layers = new Map(order.map((name) => [name, new Float64Array(COLUMNS + 1)]));
  const width = Math.max(data.duration, 1) / COLUMNS;
  for (const { spans } of data.lanes) {
    for (const { state, from, to, worker } of spans) {
      const layer = layers.get(state === "running" ? `running ${worker}` : state);
      if (layer === undefined) continue;
      // Each column gets the share of it for which the span lasts.
      const [first, last] = [Math.max(0, from) / width, Math.max(0, to) / width];
      for (let column = Math.floor(first); column <= Math.min(COLUMNS - 1, Math.floor(last)); column++) {
        const share = Math.min(column + 1, last) - Math.max(column, first);
        layer[column] = (layer[column] ?? 0) + share;
      }
    }
  }
  const totals = Array.from({ length: COLUMNS }, (_, column) =>
    [...layers.values()].reduce((sum, layer) => sum + (layer[column] ?? 0), 0),
  );
  return { layers, columns: COLUMNS, highest: Math.max(1, ...totals) };
};

/** @typedef {ReturnType<typeof countOverTime>} Counts */

/**
 * Draws the layers one on the other.
 *
 * @param {CanvasRenderingContext2D} context
 * @param {Counts} counts
 * @param {{ left: number, width: number, height: number, colour: (layer: string) => string }} place
 */
export const drawCounts = (context, { layers, columns, highest }, { left, width, height, colour }) => {
  const base = new Float64Array(columns);
  const [x, y] = [
    (/** @type {number} */ column) => left + (column / columns) * width,
    (/** @type {number} */ count) => height - (count / highest) * (height - 4),
  ];
  for (const [name, layer] of layers) {
    context.fillStyle = colour(name);
    context.beginPath();
    for (let column = 0; column < columns; column++) {
      const top = (base[column] ?? 0) + (layer[column] ?? 0);
      context.lineTo(x(column), y(top));
      context.lineTo(x(column + 1), y(top));
    }
    for (let column = columns - 1; column >= 0; column--) {
      context.lineTo(x(column + 1), y(base[column] ?? 0));
      context.lineTo(x(column), y(base[column] ?? 0));
    }
    context.fill();
    for (let column = 0; column < columns; column++)
      base[column] = (base[column] ?? 0) + (layer[column] ?? 0);
  }
};
