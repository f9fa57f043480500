import { writeFile } from "node:fs/promises";
import { toHtml } from "./html.ts";
import type { Timeline } from "./timeline.ts";
import { toTrace } from "./trace.ts";

/** The options of every command that writes a timeline, for `parseArgs`. */
export const TIMELINE_OPTIONS = { timeline: { type: "string" }, trace: { type: "string" } } as const;

/** Their lines in `--help`. */
export const TIMELINE_HELP = `  --timeline <file>   write what happened as a page for a browser
  --trace <file>      … as Chrome trace events, which Perfetto opens`;

/** Where a timeline is written, if anywhere. */
export interface TimelineFiles {
  readonly timeline?: string | undefined;
  readonly trace?: string | undefined;
}

/** Writes the files that are asked for, and says so. */
export const writeTimeline = async (
  timeline: Timeline,
  { title, files, print }: { title: string; files: TimelineFiles; print: (line: string) => void },
): Promise<void> => {
  if (files.timeline !== undefined) {
    await writeFile(files.timeline, toHtml(timeline, title));
    print(`Timeline of ${timeline.lanes.size} records: ${files.timeline}, for a browser`);
  }
  if (files.trace !== undefined) {
    await writeFile(files.trace, toTrace(timeline));
    print(`Trace: ${files.trace}, for https://ui.perfetto.dev`);
  }
};
