import { parseArgs } from "node:util";
import { loadJob } from "../jobs/load-job.ts";
import { openTopicReader } from "../kafka/topic-reader.ts";
import { openServer } from "../operate/server.ts";
import { readStatus } from "../operate/status.ts";
import { statusLines } from "../operate/status-text.ts";
import { watch } from "../operate/watch.ts";
import { createLog } from "../support/create-log.ts";
import { silentLog } from "../support/log.ts";
import { runCommand } from "../support/run-command.ts";
import { readEnv } from "../support/settings.ts";
import { openKafka } from "../worker/open-kafka.ts";

const HELP = `npm run status [-- <job>] [-- --watch] [-- --json]

Says how a job is doing: what is unread, in flight, done and dead, and whether it is done. --watch says so again every
two seconds, also after an outage.`;

/** Between two looks of --watch, in milliseconds. */
const INTERVAL_MS = 2000;
/** Clears a terminal. */
const CLEAR = "\u001b[H\u001b[2J";

await runCommand(
  async (signal) => {
    const options = {
      watch: { type: "boolean", default: false },
      json: { type: "boolean", default: false },
    } as const;
    const { values, positionals } = parseArgs({ options, allowPositionals: true });
    const job = await loadJob(positionals);
    const env = readEnv(process.env);
    // Stdout is for the outcome.
    const log = await createLog("status", { env, stream: process.stderr });
    await using opened = new AsyncDisposableStack();
    const { settings, kafka } = await openKafka(job, {
      env,
      clientId: "status",
      log,
      signal,
      readOnly: true,
    });
    const server = opened.use(
      await openServer(job, settings, { log, signal, ...(values.watch && { requestLog: silentLog }) }),
    );
    const reader = opened.use(await openTopicReader(kafka));
    const admin = kafka.admin();
    await admin.connect();
    opened.defer(() => admin.disconnect());
    const isLive = values.watch && process.stdout.isTTY;
    const look = async () => {
      const status = await readStatus({ ...server, settings, admin, reader }, Date.now());
      const lines = values.json ? JSON.stringify(status) : statusLines(status).join("\n");
      console.log(isLive ? `${CLEAR}${lines}` : lines);
    };
    await (values.watch ? watch(look, { intervalMs: INTERVAL_MS, log, signal }) : look());
  },
  { help: HELP },
);
