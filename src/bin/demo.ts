import { parseArgs } from "node:util";
import { runDemo } from "../demo/demo.ts";
import { createPlainView } from "../demo/demo-view.ts";
import { KILL_POINTS } from "../demo/kills.ts";
import { createLiveView } from "../demo/live-view.ts";
import { runCommand } from "../support/run-command.ts";
import { parseCount, SettingsError } from "../support/settings.ts";
import { TIMELINE_HELP, TIMELINE_OPTIONS, writeTimeline } from "../timeline/write-timeline.ts";

const HELP = `npm run demo [-- -n <records> --kill begin|step --timeline <file> --trace <file>]

The recovery demo: two workers, 25 records, kill -9, and a verdict. One worker is killed as it begins a batch, and the
one that leads then in the worst moment, when a batch's rows are deleted and its checkpoint is not written.

  -n <records>        how many records, 25 by default
  --kill begin        only the first kill
  --kill step         only the second kill
${TIMELINE_HELP}`;

await runCommand(
  async (signal) => {
    const { values } = parseArgs({
      options: {
        number: { type: "string", short: "n", default: "25" },
        kill: { type: "string" },
        ...TIMELINE_OPTIONS,
      },
    });
    const count = parseCount("-n", values.number, { max: 500 });
    const kills = KILL_POINTS.filter((point) => values.kill === undefined || values.kill === point);
    if (kills.length === 0)
      throw new SettingsError([`--kill: expected ${KILL_POINTS.join(" or ")}, got '${values.kill}'`]);
    const isLive = process.stdout.isTTY && !process.env.CI;
    const view = isLive ? createLiveView(process.stdout) : createPlainView(console.log);
    const print = console.log;
    const holds = await runDemo({
      count,
      kills,
      view,
      print,
      onTimeline: (timeline) => writeTimeline(timeline, { title: "Recovery demo", files: values, print }),
      signal,
    });
    if (!holds) process.exitCode = 1;
  },
  { help: HELP },
);
