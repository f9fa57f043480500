import { mkdir, mkdtempDisposable } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { runDemo } from "../../src/demo/demo.ts";
import { createPlainView } from "../../src/demo/demo-view.ts";
import { KILL_POINTS } from "../../src/demo/kills.ts";
import { runCommand } from "../../src/support/run-command.ts";
import { writeTimeline } from "../../src/timeline/write-timeline.ts";
import { startBrowser } from "../browser.ts";

const HELP = `npm run picture

Runs the demo and writes pictures of its timeline, light and dark, to docs/images. Needs Chromium.`;

const FOLDER = join(import.meta.dirname, "../../docs/images");
const LOOK = { viewport: { width: 1180, height: 730 }, deviceScaleFactor: 1.25 };

await runCommand(
  async (signal) => {
    parseArgs();
    await using folder = await mkdtempDisposable(join(tmpdir(), "picture-"));
    const page = join(folder.path, "timeline.html");
    const print = console.log;
    const holds = await runDemo({
      count: 25,
      kills: KILL_POINTS,
      view: createPlainView(print),
      print,
      onTimeline: (timeline) =>
        writeTimeline(timeline, { title: "Recovery demo", files: { timeline: page }, print }),
      signal,
    });
    if (!holds) throw new Error("expected a run in which all holds, got another: no picture of that");

    const browser = await startBrowser();
    try {
      await mkdir(FOLDER, { recursive: true });
      const tab = await browser.newPage(LOOK);
      await tab.goto(`file://${page}`);
      for (const scheme of ["light", "dark"] as const) {
        await tab.emulateMedia({ colorScheme: scheme });
        // What has changed is drawn before the second frame from now.
        await tab.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))");
        await tab.screenshot({ path: join(FOLDER, `timeline-${scheme}.png`) });
      }
    } finally {
      await browser.close();
    }
  },
  { help: HELP },
);
