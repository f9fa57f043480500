import { format } from "./statistics.ts";

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

/** Light and dark by the reader's setting, on a page of its own colour: the page around it may follow another. */
const STYLE = `
  text { font: 12px system-ui, sans-serif; fill: #444 }
  .title { font-size: 15px; font-weight: 600; fill: #111 }
  .page { fill: #fff } .grid { stroke: #ddd } .bound { stroke: #b00; stroke-dasharray: 5 4 }
  .s0 { color: #0969da } .s1 { color: #bc4c00 } .s2 { color: #1a7f37 } .s3 { color: #8250df } .s4 { color: #6e7781 }
  .line { fill: none; stroke: currentColor; stroke-width: 2 } .dot { fill: currentColor } .bar { stroke: currentColor }
  @media (prefers-color-scheme: dark) {
    text { fill: #b1bac4 } .title { fill: #f0f6fc } .page { fill: #0d1117 } .grid { stroke: #30363d } .bound { stroke: #ff7b72 }
    .s0 { color: #58a6ff } .s1 { color: #f0883e } .s2 { color: #56d364 } .s3 { color: #bc8cff } .s4 { color: #8b949e }
  }`;

const escapeXml = (text: string) => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;");

/** The step between ticks, 1, 2 or 5 times a power of ten, that makes some five of them. */
const niceStep = (span: number): number => {
  const rough = span / TICKS;
  const power = 10 ** Math.floor(Math.log10(rough));
  return ([1, 2, 5].find((n) => n * power >= rough) ?? 10) * power;
};

const createScale = (axis: Axis, values: readonly number[], from: number, to: number) => {
  const highest = Math.max(...values);
  const step = niceStep(axis.max ?? highest);
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
  const drawSeries = ({ points: own, steps }: Series, index: number) => {
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
    return `<g class="s${index}" clip-path="url(#area)"><path class="line" d="${path}"/>${bars.join("")}${dots.join("")}</g>`;
  };
  const legend = series.map(({ name }, index) => {
    const at = round(AREA.left + (index * (AREA.right - AREA.left)) / series.length);
    return `<g class="s${index}"><circle class="dot" cx="${at}" cy="48" r="5"/></g><text x="${at}" dx="11" y="52">${escapeXml(name)}</text>`;
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
${series.map(drawSeries).join("\n")}
</svg>
`;
};
