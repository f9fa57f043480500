import { drawOverview } from "./axis.js";
import { addControls } from "./controls.js";
import { describeSpan, readData } from "./data.js";
import { byId, canvasOf, onDrag } from "./dom.js";
import { drawLanes } from "./lanes.js";
import { countOverTime } from "./overview.js";
import { AXIS, GUTTER, LANE, RIGHT, readColours, scaleOf } from "./scale.js";
import { createView } from "./view.js";

/** @import { Lane, Span } from "./data.js" */

const SERIES = 6;
/** How far a mark may be from the pointer to be meant, in pixels. */
const NEAR = 4;

const data = readData(byId("data").textContent ?? "");
const view = createView(data);
const counts = countOverTime(data);
let colours = readColours(SERIES);
/** @type {Lane | undefined} */
let selected;
/** @type {Span | undefined} */
let hovered;

const scroll = byId("scroll");
const detail = byId("detail");

const lanes = canvasOf("lanes");
const overview = canvasOf("overview");

const draw = () => {
  const { clientWidth, clientHeight, scrollTop: top } = scroll;
  byId("space").style.height = `${Math.max(0, AXIS + view.lanes.length * LANE - clientHeight)}px`;
  const size = lanes.fit(clientWidth, clientHeight);
  drawLanes(lanes.context, { data, view, colours, ...size, top, selected, hovered });
  drawOverview(overview.context, { data, counts, view, colours, ...overview.fit(clientWidth, 64) });
  document.documentElement.dataset.range = `${view.from.toFixed(0)} ${view.to.toFixed(0)}`;
};
let isDue = false;
/** Draws once before the screen is next shown, however much has changed. */
const redraw = () => {
  if (isDue) return;
  isDue = true;
  requestAnimationFrame(() => {
    isDue = false;
    draw();
  });
};

/** What stands at a point of the canvas. @param {number} x @param {number} y */
const find = (x, y) => {
  const lane = y < AXIS ? undefined : view.lanes[Math.floor((y - AXIS + scroll.scrollTop) / LANE)];
  const scale = scaleOf(view, scroll.clientWidth);
  const distance = (/** @type {Span} */ span) =>
    Math.max(0, scale.x(span.from) - x, x - Math.max(scale.x(span.to), scale.x(span.from) + 2));
  const near =
    lane?.spans.filter((/** @type {Span} */ span) => view.shows(span) && distance(span) <= NEAR) ?? [];
  // Of several, the nearest; where two touch, the one that is drawn last.
  const span = near.reduceRight(
    (/** @type {Span | undefined} */ best, own) =>
      best === undefined || distance(own) < distance(best) ? own : best,
    undefined,
  );
  return { lane, span };
};

/** @param {{ lane: Lane | undefined, span: Span | undefined }} found @param {number} x @param {number} y */
const showDetail = ({ lane, span }, x, y) => {
  hovered = span;
  detail.hidden = lane === undefined || span === undefined;
  if (lane && span) {
    detail.textContent = describeSpan(data, lane, span).join("\n");
    const { offsetWidth, offsetHeight } = detail;
    detail.style.left = `${Math.max(8, Math.min(x + 14, innerWidth - offsetWidth - 8))}px`;
    detail.style.top = `${y + 18 + offsetHeight > innerHeight ? Math.max(8, y - offsetHeight - 10) : y + 18}px`;
  }
  redraw();
};

/** Selects the lane and span that are so many further than those that are selected. @param {number} down @param {number} on */
const step = (down, on) => {
  const at = selected ? view.lanes.indexOf(selected) : -1;
  const index = Math.max(0, Math.min(view.lanes.length - 1, at + (at < 0 ? 1 : down)));
  const isOther = view.lanes[index] !== selected;
  selected = view.lanes[index];
  const spans = selected?.spans.filter(view.shows) ?? [];
  const place = isOther || hovered === undefined ? 0 : spans.indexOf(hovered) + on;
  const span = spans[Math.max(0, Math.min(spans.length - 1, place))];
  const y = AXIS + index * LANE;
  if (y - scroll.scrollTop < AXIS) scroll.scrollTop = y - AXIS;
  if (y + LANE - scroll.scrollTop > scroll.clientHeight) scroll.scrollTop = y + LANE - scroll.clientHeight;
  if (span && (span.from < view.from || span.from > view.to)) {
    const half = (view.to - view.from) / 2;
    view.show(span.from - half, span.from + half);
  }
  const { left, top } = scroll.getBoundingClientRect();
  const x = Math.max(GUTTER, scaleOf(view, scroll.clientWidth).x(span?.from ?? 0));
  showDetail({ lane: selected, span }, left + x, top + y - scroll.scrollTop + LANE - 8);
};

const toggleTheme = () => {
  const root = document.documentElement;
  const isDark = root.dataset.theme
    ? root.dataset.theme === "dark"
    : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = isDark ? "light" : "dark";
  recolour();
};
const recolour = () => {
  colours = readColours(SERIES);
  redraw();
};

/** What each key does. @type {Record<string, () => void>} */
const KEYS = {
  "+": () => view.zoom(0.5),
  "=": () => view.zoom(0.5),
  "-": () => view.zoom(2),
  0: () => view.reset(),
  Home: () => view.reset(),
  ArrowDown: () => step(1, 0),
  ArrowUp: () => step(-1, 0),
  ArrowRight: () => step(0, 1),
  ArrowLeft: () => step(0, -1),
  "shift ArrowRight": () => view.pan(0.2),
  "shift ArrowLeft": () => view.pan(-0.2),
  Escape: () => {
    selected = undefined;
    showDetail({ lane: undefined, span: undefined }, 0, 0);
  },
  "/": () => byId("search").focus(),
  d: toggleTheme,
};
addEventListener("keydown", (event) => {
  if (event.target instanceof HTMLInputElement) {
    if (event.key === "Escape") scroll.focus();
    return;
  }
  const act = KEYS[`${event.shiftKey && event.key.startsWith("Arrow") ? "shift " : ""}${event.key}`];
  if (act === undefined || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  act();
  redraw();
});

onDrag(overview.canvas, (event, startX) => {
  const { from: first, to: last } = view.whole;
  const perPixel = (last - first) / Math.max(1, scroll.clientWidth - GUTTER - RIGHT);
  const at = (/** @type {number} */ x) => first + (x - GUTTER) * perPixel;
  const [from, to] = [startX, event.offsetX].sort((a, b) => a - b);
  view.show(at(from ?? 0), at(to ?? 0));
  redraw();
});
onDrag(lanes.canvas, (event) => {
  view.pan(-event.movementX / Math.max(1, scroll.clientWidth - GUTTER));
  redraw();
});
lanes.canvas.addEventListener("pointermove", (event) => {
  lanes.canvas.style.cursor = event.buttons === 0 ? "default" : "grabbing";
  if (event.buttons === 0) showDetail(find(event.offsetX, event.offsetY), event.clientX, event.clientY);
});
lanes.canvas.addEventListener("pointerleave", () => showDetail({ lane: undefined, span: undefined }, 0, 0));
lanes.canvas.addEventListener("click", (event) => {
  selected = find(event.offsetX, event.offsetY).lane;
  redraw();
});
scroll.addEventListener(
  "wheel",
  (event) => {
    if (!event.ctrlKey && Math.abs(event.deltaX) <= Math.abs(event.deltaY)) return;
    event.preventDefault();
    const x = event.clientX - scroll.getBoundingClientRect().left;
    if (event.ctrlKey) view.zoom(1.0015 ** event.deltaY, scaleOf(view, scroll.clientWidth).ms(x));
    else view.pan(event.deltaX / scroll.clientWidth);
    redraw();
  },
  { passive: false },
);
scroll.addEventListener("scroll", redraw);
overview.canvas.addEventListener("dblclick", () => {
  view.reset();
  redraw();
});
for (const [id, key] of Object.entries({ in: "+", out: "-", whole: "0", theme: "d" })) {
  byId(id).addEventListener("click", () => {
    KEYS[key]?.();
    redraw();
  });
}
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", recolour);
new ResizeObserver(redraw).observe(scroll);
addControls(data, view, { series: SERIES, onChange: redraw });
