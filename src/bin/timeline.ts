import { basename } from "node:path";
import { parseArgs } from "node:util";
import { runCommand } from "../support/run-command.ts";
import { SettingsError } from "../support/settings.ts";
import { readEvents } from "../timeline/read-events.ts";
import { TIMELINE_HELP, TIMELINE_OPTIONS, writeTimeline } from "../timeline/write-timeline.ts";

const HELP = `npm run timeline -- <file …> [--timeline <file> --trace <file>]

Draws what workers did: a lane a record over time. The files are what workers started with EVENTS_FILE=<file> have
written, or logs that hold it among other lines (EVENTS_FILE=/dev/stdout npm start >> worker.log). All workers of a
machine may share one. Without an option it writes timeline.html.

${TIMELINE_HELP}`;

await runCommand(
  async () => {
    const { values, positionals } = parseArgs({ options: TIMELINE_OPTIONS, allowPositionals: true });
    if (positionals.length === 0)
      throw new SettingsError(["expected the path of a file with events, got none"]);
    const timeline = await readEvents(positionals);
    const files = values.timeline || values.trace ? values : { timeline: "timeline.html" };
    const title = positionals.map((path) => basename(path)).join(", ");
    await writeTimeline(timeline, { title, files, print: console.log });
  },
  { help: HELP },
);
