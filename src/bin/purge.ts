import { parseArgs } from "node:util";
import { loadJob } from "../jobs/load-job.ts";
import { readRetention } from "../kafka/topics.ts";
import { createLog } from "../support/create-log.ts";
import { assertNotTaken } from "../support/npm-options.ts";
import { runCommand } from "../support/run-command.ts";
import { readEnv, SettingsError } from "../support/settings.ts";
import { executionName } from "../worker/execution.ts";
import { openKafka } from "../worker/open-kafka.ts";
import { assertBound, assertPurgeable, parseAge, purge } from "../worker/purge.ts";
import { parseJobSettings } from "../worker/settings.ts";

const HELP = `npm run purge [-- <job>] -- --older-than <age> [--dry-run] [--offsets-stay]

Deletes executions that ended longer ago than <age> (30d, 12h, 5m or 10s) from Postgres. Refused where a message of
such an execution may still be delivered again. --dry-run only counts.
--offsets-stay: the consumer group's offsets are never set back, for a topic that keeps its messages without limit.`;

await runCommand(
  async (signal) => {
    const options = {
      "older-than": { type: "string", default: "" },
      "dry-run": { type: "boolean", default: false },
      "offsets-stay": { type: "boolean", default: false },
    } as const;
    const { values, positionals } = parseArgs({ options, allowPositionals: true });
    assertNotTaken("purge", values, process.env);
    const olderThanMs = parseAge(values["older-than"]);
    if (olderThanMs === undefined) {
      throw new SettingsError([
        `--older-than: expected an age such as 30d or 12h, got ${JSON.stringify(values["older-than"])}`,
      ]);
    }
    const job = await loadJob(positionals);
    const env = readEnv(process.env);
    const dryRun = values["dry-run"];
    const { TOPIC_SOURCE: topic, RESONATE_URL: url } = parseJobSettings(job, env);
    assertPurgeable(url);
    const own = { url, service: executionName(job.name, topic), before: Date.now() - olderThanMs, signal };
    // Stdout is for the outcome.
    const log = await createLog("purge", { env, stream: process.stderr });
    const { kafka } = await openKafka(job, { env, clientId: "purge", log, signal, readOnly: true });
    const retentionMs = await readRetention(kafka, topic);
    assertBound({ olderThanMs, topic, retentionMs, offsetsStay: values["offsets-stay"] });
    const promises = await purge({ ...own, dryRun });
    console.log(`${promises} promises of finished executions ${dryRun ? "would be" : "were"} deleted`);
  },
  { help: HELP },
);
