import { formatMs } from "./data.js";
import { drawCounts } from "./overview.js";
import { niceStep } from "./ticks.js";

/** @import { Data, Lane, Span } from "./data.js" */
/** @import { View } from "./view.js" */
/** @import { Counts } from "./overview.js" */

export const GUTTER = 96;
export const AXIS = 40;
export const LANE = 20;
const RIGHT = 16;
/** Pixels between two ticks, and the least between two labels of strikes. */
const TICK = 110;
const LABEL = 56;
/** How high each state is drawn, in pixels. */
export const HEIGHTS = { running: 12, retrying: 6, orphaned: 8, asleep: 3, queued: 1 };

/** The colours of the page as they are now. @param {number} series */
export const readColours = (series) => {
  const style = getComputedStyle(document.documentElement);
  const read = (/** @type {string} */ name) => style.getPropertyValue(`--${name}`).trim();
  const names = [
    "page",
    "panel",
    "line",
    "text",
    "muted",
    "queued",
    "asleep",
    "retrying",
    "orphaned",
    "done",
  ];
  const workers = Array.from({ length: series }, (_, index) => read(`series-${index}`));
  return {
    ...Object.fromEntries(names.map((name) => [name, read(name)])),
    worker: (/** @type {number} */ number) => workers[number % series] ?? "",
  };
};

/** @typedef {ReturnType<typeof readColours> & Record<string, any>} Colours */

/** How a strike is called on the time axis. @param {string} kind */
const strikeName = (kind) => ({ SIGKILL: "kill -9", SIGSTOP: "freeze" })[kind] ?? kind;

/**
 * Time to pixels and back, for a canvas of that width.
 *
 * @param {View} view
 * @param {number} width
 */
export const scaleOf = (view, width) => {
  const room = Math.max(1, width - GUTTER - RIGHT);
  const perMs = room / (view.to - view.from);
  return {
    x: (/** @type {number} */ ms) => GUTTER + (ms - view.from) * perMs,
    ms: (/** @type {number} */ x) => view.from + (x - GUTTER) / perMs,
    right: GUTTER + room,
  };
};

/**
 * Draws the lanes between two heights of the whole list: only those are touched, however many there are.
 *
 * @param {CanvasRenderingContext2D} context
 * @param {{ data: Data, view: View, colours: Colours, width: number, height: number, top: number, selected: Lane | undefined, hovered: Span | undefined }} scene
 */
export const drawLanes = (context, { data, view, colours, width, height, top, selected, hovered }) => {
  const scale = scaleOf(view, width);
  context.clearRect(0, 0, width, height);
  context.font = "12px ui-monospace, monospace";
  context.textBaseline = "middle";

  /** @param {Span} span @param {number} y */
  const drawSpan = (span, y) => {
    const [left, right] = [scale.x(span.from), scale.x(span.to)];
    if (right < GUTTER || left > scale.right) return;
    const lane = HEIGHTS[/** @type {keyof typeof HEIGHTS} */ (span.state)];
    const [x, end] = [Math.max(GUTTER, left), Math.min(scale.right, Math.max(right, left + 2))];
    context.globalAlpha = view.shows(span) ? 1 : 0.12;
    context.fillStyle = span.state === "running" ? colours.worker(span.worker) : colours[span.state];
    if (span.state === "orphaned") context.globalAlpha *= 0.28;
    context.beginPath();
    context.roundRect(x, y - lane / 2, Math.max(1.5, end - x - 1), lane, Math.min(3, lane / 2));
    context.fill();
    context.globalAlpha = view.shows(span) ? 1 : 0.12;
    if (span === hovered) {
      context.strokeStyle = colours.text;
      context.lineWidth = 1.5;
      context.stroke();
    }
    if (span.end === "failed") {
      context.fillStyle = colours.retrying;
      context.fillRect(end - 3, y - lane / 2, 2, lane);
    }
    if (span.end === "cut") drawText("✗", end + 5, y, colours.orphaned, "center", "bold 13px");
    if (span.end === "answered") drawText("◆", (x + end) / 2, y, colours.page, "center", "9px");
    context.globalAlpha = 1;
  };
  /** @param {string} text @param {number} x @param {number} y @param {string} colour @param {CanvasTextAlign} align @param {string} font */
  const drawText = (text, x, y, colour, align = "left", font = "12px") => {
    context.font = `${font} ui-monospace, monospace`;
    context.textAlign = align;
    context.fillStyle = colour;
    context.fillText(text, x, y);
  };

  const first = Math.max(0, Math.floor((top - AXIS) / LANE));
  const last = Math.min(view.lanes.length, Math.ceil((top + height - AXIS) / LANE));
  for (let index = first; index < last; index++) {
    const lane = view.lanes[index];
    if (lane === undefined) continue;
    const y = AXIS + index * LANE - top + LANE / 2;
    if (lane === selected) {
      context.fillStyle = colours.panel;
      context.fillRect(0, y - LANE / 2, width, LANE);
    }
    context.fillStyle = colours.line;
    context.fillRect(GUTTER, y + LANE / 2 - 0.5, scale.right - GUTTER, 0.5);
    drawText(
      clipId(lane.id),
      GUTTER - 12,
      y,
      lane === selected ? colours.text : colours.muted,
      "right",
      "11px",
    );
    for (const span of lane.spans) drawSpan(span, y);
    for (const { at, by, gapMs } of lane.takeovers) {
      const x = scale.x(at);
      if (x < GUTTER || x > scale.right || !view.workers.has(by)) continue;
      const label = formatMs(gapMs);
      const room = x - Math.max(GUTTER, scale.x(at - gapMs));
      if (room > 70) drawText(label, x - 8, y, colours.orphaned, "right", "bold 10px");
      drawText("▸", x, y, colours.worker(by), "center", "bold 14px");
    }
    const end = lane.spans.at(-1)?.to ?? 0;
    const x = scale.x(end) + 8;
    if (lane.outcome === "" || x < GUTTER || x > scale.right + 12) continue;
    const isDone = lane.outcome === "finished";
    drawText(isDone ? "✓" : "✗", x, y, isDone ? colours.done : colours.orphaned, "center", "bold 11px");
  }

  for (const { at, worker, kind } of data.strikes) {
    const x = scale.x(at);
    if (x < GUTTER || x > scale.right) continue;
    context.globalAlpha = view.workers.has(worker) ? 0.9 : 0.2;
    context.strokeStyle = colours.orphaned;
    context.lineWidth = 1.5;
    context.setLineDash(kind === "SIGKILL" ? [] : [4, 4]);
    context.beginPath();
    context.moveTo(x, AXIS - 6);
    context.lineTo(x, Math.min(height, AXIS + view.lanes.length * LANE - top));
    context.stroke();
    context.setLineDash([]);
    context.globalAlpha = 1;
  }
  drawAxis(context, { data, view, colours, width });
};

/** @param {string} id */
const clipId = (id) => (id.length <= 10 ? id : `${id.slice(0, 9)}…`);

/**
 * @param {CanvasRenderingContext2D} context
 * @param {{ data: Data, view: View, colours: Colours, width: number }} scene
 */
const drawAxis = (context, { data, view, colours, width }) => {
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
  let free = 0;
  for (const { at, worker, kind } of data.strikes) {
    const x = scale.x(at);
    if (x < GUTTER || x > scale.right || x < free) continue;
    const text = `${strikeName(kind)} ${data.workers[worker]?.label ?? ""}`;
    const length = context.measureText(text).width;
    const start = Math.min(x - 4, scale.right - length);
    context.fillStyle = colours.orphaned;
    context.fillText(text, start, 8);
    free = start + Math.max(LABEL, length + 10);
  }
};

/**
 * The whole run at a glance, with a frame around what is shown.
 *
 * @param {CanvasRenderingContext2D} context
 * @param {{ data: Data, counts: Counts, view: View, colours: Colours, width: number, height: number }} scene
 */
export const drawOverview = (context, { data, counts, view, colours, width, height }) => {
  const [left, room] = [GUTTER, Math.max(1, width - GUTTER - RIGHT)];
  const x = (/** @type {number} */ ms) =>
    left + Math.max(0, Math.min(1, ms / Math.max(1, data.duration))) * room;
  context.clearRect(0, 0, width, height);
  context.fillStyle = colours.panel;
  context.fillRect(left, 0, room, height);
  const colour = (/** @type {string} */ layer) =>
    layer.startsWith("running") ? colours.worker(Number(layer.slice(8))) : colours[layer];
  drawCounts(context, counts, { left, width: room, height, colour });
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
