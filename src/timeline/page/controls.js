import { formatMs, STATE_NAMES, STATES } from "./data.js";
import { byId } from "./dom.js";
import { HEIGHTS } from "./scale.js";

/** @import { Data } from "./data.js" */
/** @import { View } from "./view.js" */

/**
 * A button for each choice: a click takes it in or out, a double click leaves it alone.
 *
 * @template T
 * @param {HTMLElement} place
 * @param {{ value: T, label: string, title: string, colour: string, height: number }[]} choices
 * @param {Set<T>} chosen
 * @param {() => void} onChange
 */
const addToggles = (place, choices, chosen, onChange) => {
  /** @type {[HTMLElement, T][]} */
  const buttons = [];
  const show = () => {
    for (const [button, value] of buttons) button.setAttribute("aria-pressed", String(chosen.has(value)));
    onChange();
  };
  for (const { value, label, title, colour, height } of choices) {
    const button = document.createElement("button");
    button.type = "button";
    button.title = title;
    const mark = document.createElement("i");
    mark.style.cssText = `background: ${colour}; height: ${height}px`;
    button.append(mark, label);
    button.addEventListener("click", () => {
      if (!chosen.delete(value)) chosen.add(value);
      show();
    });
    button.addEventListener("dblclick", () => {
      const isAlone = chosen.size === 1 && chosen.has(value);
      for (const [, other] of buttons) if (isAlone || other === value) chosen.add(other);
      if (!isAlone) for (const [, other] of buttons) if (other !== value) chosen.delete(other);
      show();
    });
    place.append(button);
    buttons.push([button, value]);
  }
  show();
};

/**
 * The filters, and a line that says what the run was.
 *
 * @param {Data} data
 * @param {View} view
 * @param {{ series: number, onChange: () => void }} options
 */
export const addControls = (data, view, { series, onChange }) => {
  const struck = new Map(data.strikes.map(({ worker, kind }) => [worker, kind]));
  const change = () => {
    view.filter();
    byId("shown").textContent = `${view.lanes.length} of ${data.lanes.length} records`;
    onChange();
  };
  addToggles(
    byId("workers"),
    data.workers.map(({ label, name }, value) => ({
      value,
      label,
      title: [name, struck.get(value)].filter(Boolean).join(", "),
      colour: `var(--series-${value % series})`,
      height: 12,
    })),
    view.workers,
    change,
  );
  addToggles(
    byId("states"),
    STATES.map((value) => ({
      value,
      label: STATE_NAMES[value],
      title: STATE_NAMES[value],
      colour: value === "running" ? "var(--text)" : `var(--${value})`,
      height: HEIGHTS[value],
    })),
    /** @type {Set<typeof STATES[number]>} */ (view.states),
    change,
  );
  const search = byId("search");
  search.addEventListener("input", () => {
    view.filter(search instanceof HTMLInputElement ? search.value.trim() : "");
    change();
  });

  const steps = data.lanes.reduce(
    (sum, { spans }) =>
      sum + spans.filter(({ state, end }) => state === "running" && end !== "failed").length,
    0,
  );
  const gaps = data.lanes.flatMap(({ takeovers }) => takeovers.map(({ gapMs }) => gapMs));
  const kills = data.strikes.filter(({ kind }) => kind === "SIGKILL").length;
  const parts = [
    `${data.lanes.length} records`,
    `${steps} steps`,
    `${data.workers.length} workers`,
    formatMs(data.duration),
    kills > 0 ? `${kills} × kill -9` : "",
    gaps.length > 0 ? `${gaps.length} takeovers, the slowest after ${formatMs(Math.max(...gaps))}` : "",
  ];
  byId("summary").textContent = parts.filter(Boolean).join(" · ");
};
