import { styleText } from "node:util";
import { createLogUpdate } from "log-update";
import type { DemoView } from "./demo-view.ts";
import { drawLive } from "./draw-live.ts";

/** How many notes stand below the lanes. */
const NOTES = 5;

/** Draws the demo again and again in the same place of a terminal; on its end, what is drawn stays. */
export const createLiveView = (terminal: NodeJS.WriteStream): DemoView => {
  const update = createLogUpdate(terminal);
  const notes: string[] = [];
  const isColoured = terminal.hasColors();
  const paint: Parameters<typeof drawLive>[1]["paint"] = (format, text) =>
    isColoured ? styleText(format, text, { validateStream: false }) : text;
  let hasLanes = false;
  return {
    note: (line, isStrong = false) => {
      notes.push(isStrong ? paint(["bold", "red"], line) : line);
      if (!hasLanes) update(notes.slice(-NOTES).join("\n"));
    },
    refresh: (state) => {
      hasLanes = true;
      const { columns, rows } = terminal;
      update(
        drawLive(state, { columns, rows, notes: notes.slice(-NOTES), paint, isColoured, now: Date.now() }),
      );
    },
    end: () => update.done(),
  };
};
