import { drawCounts } from "./overview.js";
import { AXIS, GUTTER, RIGHT, scaleOf } from "./scale.js";
import { niceStep } from "./ticks.js";

/** @import { Data } from "./data.js" */
/** @import { View } from "./view.js" */
/** @import { Colours } from "./scale.js" */
/** @import { Counts } from "./overview.js" */

/** Pixels between two ticks. */
const TICK = 110;

/** How a strike is called on the time axis. @param {string} kind */
const strikeName = (kind) => ({ SIGKILL: "kill -9", SIGSTOP: "freeze" })[kind] ?? kind;

/**
 * @param {CanvasRenderingContext2D} context
 * @param {{ data: Data, view: View, colours: Colours, width: number }} scene
 */
export const drawAxis = (context, { data, view, colours, width }) => {
  const scale = scaleOf(view, width);
  context.fillStyle = colours.page;
  context.fillRect(0, 0, width, AXIS - 6);
  context.fillStyle = colours.line;
  context.fillRect(GUTTER, AXIS - 6, scale.right - GUTTER, 1);
  context.font = "11px ui-monospace, monospace";
  context.textAlign = "center";
  const step = niceStep(view.to - view.from, (scale.right - GUTTER) / TICK);
  for (let ms = Math.ceil(Math.max(0, view.from) / step) * step; ms <= view.to; ms += step) {
    const x = scale.x(ms);
    context.fillStyle = colours.line;
    context.fillRect(x, AXIS - 10, 1, 5);
    context.fillStyle = colours.muted;
    context.fillText(
      step >= 1000 ? `${Math.round(ms / 1000)} s` : `${Number((ms / 1000).toFixed(3))} s`,
      x,
      AXIS - 17,
    );
  }
  context.font = "bold 11px ui-monospace, monospace";
  context.textAlign = "left";
  /** @type {[from: number, to: number][]} */
  const taken = [];
  // Where there is no room for all, kills are named first.
  for (const { at, worker, kind } of data.strikes.toSorted((a, b) => order(a) - order(b))) {
    const x = scale.x(at);
    if (x < GUTTER || x > scale.right) continue;
    const text = `${strikeName(kind)} ${data.workers[worker]?.label.replace("worker ", "") ?? ""}`;
    const length = context.measureText(text).width;
    const start = Math.min(x - 4, scale.right - length);
    if (taken.some(([from, to]) => start < to && start + length + 8 > from)) continue;
    taken.push([start, start + length + 8]);
    context.fillStyle = colours.orphaned;
    context.fillText(text, start, 8);
  }
};

/** @param {{ kind: string }} strike */
const order = ({ kind }) => (kind === "SIGKILL" ? 0 : 1);

/**
 * The whole run at a glance, with a frame around what is shown.
 *
 * @param {CanvasRenderingContext2D} context
 * @param {{ data: Data, counts: Counts, view: View, colours: Colours, width: number, height: number }} scene
 */
export const drawOverview = (context, { data, counts, view, colours, width, height }) => {
  const [left, room] = [GUTTER, Math.max(1, width - GUTTER - RIGHT)];
  const perMs = room / (view.whole.to - view.whole.from);
  const x = (/** @type {number} */ ms) => left + (ms - view.whole.from) * perMs;
  context.clearRect(0, 0, width, height);
  context.fillStyle = colours.panel;
  context.fillRect(left, 0, room, height);
  const colour = (/** @type {string} */ layer) =>
    layer.startsWith("running") ? colours.worker(Number(layer.slice(8))) : colours[layer];
  drawCounts(context, counts, { left: x(0), width: data.duration * perMs, height, colour });
  context.fillStyle = colours.orphaned;
  for (const { at } of data.strikes) context.fillRect(x(at) - 0.75, 0, 1.5, height);
  context.font = "11px ui-monospace, monospace";
  context.textAlign = "right";
  context.textBaseline = "top";
  context.fillStyle = colours.muted;
  context.fillText(`${Math.round(counts.highest)} records`, left - 12, 2);
  const [from, to] = [x(view.from), x(view.to)];
  context.fillStyle = colours.page;
  context.globalAlpha = 0.65;
  context.fillRect(left, 0, from - left, height);
  context.fillRect(to, 0, left + room - to, height);
  context.globalAlpha = 1;
  context.strokeStyle = colours.muted;
  context.strokeRect(from + 0.5, 0.5, Math.max(1, to - from - 1), height - 1);
};
