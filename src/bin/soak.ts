import { mkdtempDisposable } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { findExternalStack } from "../demo/external-stack.ts";
import { openNamespaces } from "../demo/namespaces.ts";
import { runSoak } from "../demo/soak.ts";
import { runCommand } from "../support/run-command.ts";
import { parseCount } from "../support/settings.ts";
import { readEvents } from "../timeline/read-events.ts";
import { TIMELINE_HELP, TIMELINE_OPTIONS, writeTimeline } from "../timeline/write-timeline.ts";

const HELP = `npm run soak [-- --records <n> --workers <n> --kills <n> --seed <n>
               --own-hosts --timeline <file> --trace <file>]

Records arrive while workers are killed, stopped and frozen. KAFKA_BROKERS and RESONATE_URL name a real stack,
RECORDS_DB an empty row store, which may be a postgres:// URL. With --own-hosts each worker runs in a network namespace,
whose link is cut at random (Linux, root, iproute2). It reaches this host as 198.18.0.1, which the settings then name.

${TIMELINE_HELP}`;

await runCommand(
  async (signal) => {
    const { values } = parseArgs({
      options: {
        records: { type: "string", default: "2000" },
        workers: { type: "string", default: "3" },
        kills: { type: "string", default: "20" },
        "own-hosts": { type: "boolean", default: false },
        ...TIMELINE_OPTIONS,
        seed: { type: "string", default: String(Date.now() % 100_000) },
      },
    });
    const isDrawn = values.timeline !== undefined || values.trace !== undefined;
    await using folder = isDrawn ? await mkdtempDisposable(join(tmpdir(), "soak-events-")) : undefined;
    await using namespaces = values["own-hosts"] ? await openNamespaces() : undefined;
    const eventsFile = folder && join(folder.path, "events");
    const print = console.log;
    const holds = await runSoak({
      records: parseCount("--records", values.records, { max: 1_000_000 }),
      workers: parseCount("--workers", values.workers, { max: 16 }),
      kills: parseCount("--kills", values.kills, { max: 10_000 }),
      seed: parseCount("--seed", values.seed, { max: 999_999_999 }),
      external: findExternalStack(process.env),
      recordsDb: process.env.RECORDS_DB,
      namespaces,
      eventsFile,
      print,
      signal,
    });
    if (eventsFile)
      await writeTimeline(await readEvents([eventsFile]), { title: "Soak", files: values, print });
    if (!holds) process.exitCode = 1;
  },
  { help: HELP },
);
