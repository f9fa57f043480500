/** @import { View } from "./view.js" */

export const GUTTER = 96;
export const AXIS = 40;
export const LANE = 20;
export const RIGHT = 16;
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
