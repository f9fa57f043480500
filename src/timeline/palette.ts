/** One colour for light and one for dark ground. */
interface Colour {
  readonly light: string;
  readonly dark: string;
}

/** Of workers in the timeline and of contenders in the benchmark's plots, in this order. */
const SERIES: readonly Colour[] = [
  { light: "#0969da", dark: "#58a6ff" },
  { light: "#8250df", dark: "#bc8cff" },
  { light: "#0c8577", dark: "#3fc8b4" },
  { light: "#bc4c00", dark: "#f0883e" },
  { light: "#bf3989", dark: "#ff80c8" },
  { light: "#57606a", dark: "#9ea7b3" },
];

/** What is not a series, by the name of its CSS variable. */
const GROUND = {
  page: { light: "#ffffff", dark: "#0d1117" },
  panel: { light: "#f6f8fa", dark: "#161b22" },
  line: { light: "#d8dee4", dark: "#30363d" },
  text: { light: "#1f2328", dark: "#e6edf3" },
  muted: { light: "#59636e", dark: "#9198a1" },
  queued: { light: "#c3ccd6", dark: "#3d444d" },
  asleep: { light: "#9fb3c8", dark: "#4f6479" },
  retrying: { light: "#d4a000", dark: "#e3b341" },
  orphaned: { light: "#e5534b", dark: "#f85149" },
  done: { light: "#1a7f37", dark: "#3fb950" },
} satisfies Record<string, Colour>;

const declare = (mode: keyof Colour): string =>
  [
    ...Object.entries(GROUND).map(([name, colour]) => `--${name}: ${colour[mode]};`),
    ...SERIES.map((colour, index) => `--series-${index}: ${colour[mode]};`),
  ].join(" ");

/** The colours as CSS variables: `--page`, `--series-0` and so on. */
export const paletteCss = { light: declare("light"), dark: declare("dark") };
