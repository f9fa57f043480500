import { niceStep } from "../src/timeline/page/ticks.js";
import { paletteCss } from "../src/timeline/palette.ts";
import { format } from "./statistics.ts";

/** Who is measured, with a colour of its own in every plot: the number of that colour in the palette. */
const CONTENDERS = { "this worker": 0, plain: 3, bare: 5, "bare with the worker's client": 2 };
type Contender = keyof typeof CONTENDERS;
const THIS: Contender = "this worker";

interface Axis {
  readonly label: string;
  readonly log?: boolean;
  readonly ticks?: readonly number[];
  /** What lies above is cut off. */
  readonly max?: number;
}

interface Point {
  readonly x: number;
  readonly y: number;
  /** Where the samples lie, drawn as a bar. */
  readonly low?: number;
  readonly high?: number;
}

interface Series {
  readonly name: string;
  /** Whose numbers they are: this worker's where it is not said. Of one contender's the first is solid, the others dashed. */
  readonly of?: Contender;
  readonly points: readonly Point[];
  /** A cumulative distribution: steps instead of straight lines, from 0 on. */
  readonly steps?: boolean;
}

export interface Plot {
  /** Name of its file, without the ending. */
  readonly file: string;
  readonly title: string;
  readonly x: Axis;
  readonly y: Axis;
  /** A vertical line. */
  readonly bound?: { readonly x: number; readonly label: string };
  readonly series: readonly Series[];
}

const [WIDTH, HEIGHT] = [720, 400];
const AREA = { left: 70, right: 690, top: 76, bottom: 340 };
const TICKS = 5;
/** Where the legend begins, and how wide its parts are: a character about so much. */
const LEGEND = { left: 24, line: 24, gap: 26, character: 6.2 };

/** How the second, third … series of a contender is dashed. */
const DASHES = ["none", "7 4", "2 3", "10 3 2 3"];

/** Light and dark by the reader's setting, on a page of its own colour: the page around it may follow another. */
const STYLE = `
  svg { ${paletteCss.light} }
  @media (prefers-color-scheme: dark) { svg { ${paletteCss.dark} } }
  text { font: 12px system-ui, sans-serif; fill: var(--muted) }
  .title { font-size: 15px; font-weight: 600; fill: var(--text) }
  .page { fill: var(--page) } .grid { stroke: var(--line) } .bound { stroke: var(--orphaned); stroke-dasharray: 5 4 }
  .line, .bar { fill: none; stroke: currentColor; stroke-width: 1.75 } .dot { fill: currentColor }
  .own .line { stroke-width: 3.5 } text.own { font-weight: 600; fill: var(--text) }`;

const escapeXml = (text: string) => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;");

const createScale = (axis: Axis, values: readonly number[], from: number, to: number) => {
  const highest = Math.max(...values);
  const step = niceStep(axis.max ?? highest, TICKS);
  const high = axis.max ?? (axis.log ? highest : Math.ceil(highest / step) * step);
  const low = axis.log ? Math.min(...values) : 0;
  const map = axis.log ? Math.log : (value: number) => value;
  const share = (value: number) => (map(value) - map(low)) / (map(high) - map(low));
  const even = Array.from({ length: Math.floor(high / step + 0.001) + 1 }, (_, i) => i * step);
  const ticks = (axis.ticks ?? even).filter((tick) => tick >= low && tick <= high * 1.001);
  return { at: (value: number) => from + share(value) * (to - from), ticks };
};

const round = (n: number) => n.toFixed(1);

/** Draws the plot as an SVG document. */
export const drawPlot = ({ title, x, y, bound, series }: Plot): string => {
  const points = series.flatMap((own) => own.points);
  const xs = [...points.map((point) => point.x), ...(bound ? [bound.x] : [])];
  const across = createScale(x, xs, AREA.left, AREA.right);
  const up = createScale(
    y,
    points.map((point) => point.high ?? point.y),
    AREA.bottom,
    AREA.top,
  );

  const grid = up.ticks.map((tick) => {
    const at = round(up.at(tick));
    return `<line class="grid" x1="${AREA.left}" x2="${AREA.right}" y1="${at}" y2="${at}"/><text x="${AREA.left - 8}" y="${at}" dy="4" text-anchor="end">${format(tick)}</text>`;
  });
  const xTicks = across.ticks.map(
    (tick) =>
      `<text x="${round(across.at(tick))}" y="${AREA.bottom + 20}" text-anchor="middle">${format(tick)}</text>`,
  );
  const lookOf = ({ of = THIS }: Series, index: number) => {
    const before = series.slice(0, index).filter(({ of: other = THIS }) => other === of).length;
    return {
      // The first one of this worker is what the plot is about.
      name: of === THIS && before === 0 ? "own" : "other",
      colour: `style="color: var(--series-${CONTENDERS[of]})"`,
      dash: `stroke-dasharray="${DASHES[before % DASHES.length]}"`,
    };
  };
  const drawSeries = (one: Series, index: number) => {
    const { points: own, steps } = one;
    const { name, colour, dash } = lookOf(one, index);
    const xy = own.map((point) => ({ ...point, px: round(across.at(point.x)), py: round(up.at(point.y)) }));
    const path = steps
      ? `M${xy[0]?.px ?? 0},${AREA.bottom}${xy.map(({ px, py }) => `H${px}V${py}`).join("")}`
      : `M${xy.map(({ px, py }) => `${px},${py}`).join("L")}`;
    const bars = xy.map(({ px, low, high }) =>
      low === undefined || high === undefined
        ? ""
        : `<line class="bar" x1="${px}" x2="${px}" y1="${round(up.at(low))}" y2="${round(up.at(high))}"/>`,
    );
    const dots = steps ? [] : xy.map(({ px, py }) => `<circle class="dot" cx="${px}" cy="${py}" r="3.5"/>`);
    return `<g class="${name}" ${colour} clip-path="url(#area)"><path class="line" ${dash} d="${path}"/>${bars.join("")}${dots.join("")}</g>`;
  };
  let free = LEGEND.left;
  const legend = series.map((one, index) => {
    const { name, colour, dash } = lookOf(one, index);
    const at = free;
    free += LEGEND.line + LEGEND.gap + one.name.length * LEGEND.character;
    return `<g class="${name}" ${colour}><path class="line" ${dash} d="M${round(at)},48h${LEGEND.line}"/></g><text class="${name}" x="${round(at + LEGEND.line + 7)}" y="52">${escapeXml(one.name)}</text>`;
  });
  const limit = bound
    ? `<line class="bound" x1="${round(across.at(bound.x))}" x2="${round(across.at(bound.x))}" y1="${AREA.top}" y2="${AREA.bottom}"/><text x="${round(across.at(bound.x) - 6)}" y="${AREA.bottom - 8}" text-anchor="end">${escapeXml(bound.label)}</text>`
    : "";
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${HEIGHT}" role="img" aria-label="${escapeXml(title)}">
<style>${STYLE}
</style>
<rect class="page" width="${WIDTH}" height="${HEIGHT}"/>
<clipPath id="area"><rect x="0" y="${AREA.top - 5}" width="${WIDTH}" height="${AREA.bottom - AREA.top + 10}"/></clipPath>
<text class="title" x="${AREA.left}" y="24">${escapeXml(title)}</text>
${legend.join("\n")}
${grid.join("\n")}
${xTicks.join("\n")}
<text x="${(AREA.left + AREA.right) / 2}" y="${HEIGHT - 14}" text-anchor="middle">${escapeXml(x.label)}</text>
<text transform="translate(18 ${(AREA.top + AREA.bottom) / 2}) rotate(-90)" text-anchor="middle">${escapeXml(y.label)}</text>
${limit}
${series.map(drawSeries).reverse().join("\n")}
</svg>
`;
};
