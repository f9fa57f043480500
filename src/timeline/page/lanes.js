import { drawAxis } from "./axis.js";
import { formatMs } from "./data.js";
import { AXIS, GUTTER, HEIGHTS, LANE, scaleOf } from "./scale.js";

/** @import { Data, Lane, Span } from "./data.js" */
/** @import { View } from "./view.js" */
/** @import { Colours } from "./scale.js" */

/** Characters of a record id. */
const ID = 10;

/**
 * A record id, as much of it as fits: what it has alone, not what all begin with.
 *
 * @param {string} id
 * @param {string} prefix
 */
const clipId = (id, prefix) => {
  const own = prefix.length > 4 ? `…${id.slice(prefix.length)}` : id;
  return own.length <= ID ? own : `${own.slice(0, ID - 1)}…`;
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
      clipId(lane.id, data.prefix),
      GUTTER - 12,
      y,
      lane === selected ? colours.text : colours.muted,
      "right",
      "11px",
    );
    for (const span of lane.spans) drawSpan(span, y);
    for (const [at, { state, from, to }] of lane.spans.entries()) {
      const next = lane.spans[at + 1];
      const x = scale.x(to);
      if (state !== "orphaned" || next === undefined || x < GUTTER || x > scale.right) continue;
      if (!view.states.has(state) || !view.workers.has(next.worker)) continue;
      const room = x - Math.max(GUTTER, scale.x(from));
      if (room > 70) drawText(formatMs(to - from), x - 8, y, colours.orphaned, "right", "bold 10px");
      drawText("▸", x, y, colours.worker(next.worker), "center", "bold 14px");
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
