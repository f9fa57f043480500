import { readFileSync } from "node:fs";
import type { Span } from "./lane.ts";
import { paletteCss } from "./palette.ts";
import { type Timeline, workerLabel } from "./timeline.ts";

/** The page's modules: each one stands behind those that it imports. */
const MODULES = ["ticks", "data", "view", "scale", "overview", "axis", "lanes", "dom", "controls", "main"];

const readPage = (name: string) => readFileSync(new URL(`./page/${name}`, import.meta.url), "utf8");

/** All modules as one: a page that is opened from a disk may import none. */
const bundle = (): string =>
  MODULES.map((name) =>
    readPage(`${name}.js`)
      .replace(/^import [^;]*;\n/gm, "")
      .replace(/^export /gm, ""),
  ).join("\n");

const STYLE = `
:root { color-scheme: light; ${paletteCss.light} }
@media (prefers-color-scheme: dark) { :root:not([data-theme="light"]) { color-scheme: dark; ${paletteCss.dark} } }
:root[data-theme="dark"] { color-scheme: dark; ${paletteCss.dark} }
`;

const escapeHtml = (text: string) =>
  text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll('"', "&quot;");

/** JSON that may stand in a script element, whatever the texts in it are. */
const toScript = (data: unknown) => JSON.stringify(data).replaceAll("<", "\\u003c");

/** The call of a step that its idempotency key names. */
export const callOf = (key: string | undefined): string => /\/(\d+)$/.exec(key ?? "")?.[1] ?? "";

/** What page/data.js reads: lists in place of objects, and each name once. */
const toData = ({ workers, lanes, strikes, takeovers, to }: Timeline) => {
  const names = [""];
  const numbers = new Map([["", 0]]);
  const numberOf = (name = "") => numbers.getOrInsertComputed(name, () => names.push(name) - 1);
  // What comes before the first record is the start of the workers.
  const begun = [...lanes.values()].flatMap(({ spans }) => spans[0]?.from ?? []);
  const since = begun.reduce((first, own) => Math.min(first, own), strikes[0]?.at ?? to);
  const toSpan = ({ state, from: begin, to: end, worker = -1, ...own }: Span) => [
    numberOf(state),
    begin - since,
    Math.max(0, Math.min(end, to) - begin),
    worker,
    numberOf(own.step),
    callOf(own.key),
    own.attempt ?? 1,
    numberOf(own.end),
    ...(own.error === undefined ? [] : [own.error]),
  ];
  const takeoversById = Map.groupBy(takeovers, ({ id }) => id);
  return {
    startedAt: since,
    duration: to - since,
    workers: workers.map(({ name }, number) => ({ label: workerLabel(number), name })),
    strikes: strikes.map(({ at, worker, kind }) => ({ at: at - since, worker, kind })),
    lanes: [...lanes.values()].map(({ id, outcome = "", spans }) => [
      id,
      outcome,
      spans.map(toSpan),
      (takeoversById.get(id) ?? []).map((own) => [own.at - since, own.from, own.by, own.gapMs]),
    ]),
    names,
  };
};

/** The timeline as one HTML document that loads nothing. */
export const toHtml = (timeline: Timeline, title: string): string => {
  const parts: Record<string, string> = {
    title: escapeHtml(title),
    style: STYLE + readPage("page.css"),
    data: toScript(toData(timeline)),
    script: bundle(),
  };
  return readPage("page.html").replace(/\{\{(\w+)\}\}/g, (_, name) => parts[name] ?? "");
};
